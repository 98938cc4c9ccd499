"""The fixture of the pools' tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from longboat import Longboat
from tests.apps import pool_functions as functions


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Longboat]:
    with Longboat(f"sqlite:///{tmp_path / 'jobs.db'}", include=[functions.__name__]) as made:
        yield made
