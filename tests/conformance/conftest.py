"""A fixture of the tests that hold the store in memory to the clauses."""

from __future__ import annotations

import pytest


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand ended jobs are very many here; real brokers are held to the number of the contract."""
    for module in ("longboat.brokers.memory.store", "longboat.testing.conformance.operate"):
        monkeypatch.setattr(f"{module}.ENDED_KEPT", 1000)
