"""Every clause finds the broker that breaks its promise: a clause that cannot fail holds nobody to anything."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from longboat.brokers.memory import MemoryBroker
from longboat.contract.broker import Broker
from longboat.contract.capabilities import Capability
from longboat.core.clock import SYSTEM
from longboat.testing.conformance import CLAUSES, Clause, run
from longboat.testing.conformance.stage import limits
from tests.conformance import (
    sabotaged_constraints,
    sabotaged_jobs,
    sabotaged_kv,
    sabotaged_leases,
    sabotaged_transactional,
    sabotaged_transfer,
    sabotaged_views,
)
from tests.conformance.sabotage import SABOTAGES, Sabotage
from tests.rigs.harnesses import NewSqlite

# importing them fills SABOTAGES
__all__ = [
    "sabotaged_constraints",
    "sabotaged_jobs",
    "sabotaged_kv",
    "sabotaged_leases",
    "sabotaged_transactional",
    "sabotaged_transfer",
    "sabotaged_views",
]


class Sabotaged:
    """One memory broker with its promise broken."""

    def __init__(self, *sabotages: Sabotage) -> None:
        self.broker = MemoryBroker()
        for sabotage in sabotages:
            sabotage(self.broker)

    def open(self) -> Broker:
        return self.broker

    def inject(self, raw: bytes, queue: str) -> None:
        from longboat.core.job import MESSAGE_VERSION, Job, new_id

        with self.broker._store.locked() as now:
            self.broker._store.add(Job(MESSAGE_VERSION, new_id(), "", b"", queue), raw, now)


class SabotagedSqlite(NewSqlite):
    """A store in a file, for what memory has not: transactions of others."""

    def __init__(self, folder: Path, sabotage: Sabotage) -> None:
        super().__init__(folder, SYSTEM)
        self._sabotage = sabotage

    def open(self) -> Broker:
        broker = super().open()
        self._sabotage(broker)
        return broker


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What never comes need not be waited for so long: there is nobody here whom a busy machine could wrong."""
    for name, seconds in {"patient": 0.6, "wait": 1.2, "prompt": 0.5, "sweep": 0.5, "churn": 2.0}.items():
        monkeypatch.setattr(limits, name, seconds)


@pytest.mark.slow
@pytest.mark.usefixtures("few", "impatient")
@pytest.mark.parametrize("clause", CLAUSES, ids=lambda clause: clause.name)
def test_the_clause_finds_its_sabotage(clause: Clause, tmp_path: Path) -> None:
    sabotage = SABOTAGES[clause.name]
    transactional = Capability.TRANSACTIONAL in clause.needs
    with pytest.raises(AssertionError):
        clause.check(SabotagedSqlite(tmp_path, sabotage) if transactional else Sabotaged(sabotage))


def test_every_clause_has_a_sabotage_and_every_sabotage_a_clause() -> None:
    assert set(SABOTAGES) == {clause.name for clause in CLAUSES}


def test_names_are_used_once_and_each_clause_states_its_promise() -> None:
    assert len({clause.name for clause in CLAUSES}) == len(CLAUSES)
    assert [clause.name for clause in CLAUSES if not clause.promise.endswith(".")] == []


def test_run_reports_what_is_kept_broken_and_missing() -> None:
    def without_fields(broker: MemoryBroker) -> None:
        broker.capabilities -= {Capability.EVICT}

    new: Callable[[], Sabotaged] = lambda: Sabotaged(SABOTAGES["higher_priority_comes_first"], without_fields)  # noqa: E731  # a name with a type
    only = ["evict_is_idempotent", "higher_priority_comes_first", "a_token_names_one_put"]
    report = run(new, only=only)
    assert report.kept == ["a_token_names_one_put"]
    assert report.missing == ["evict_is_idempotent"]
    assert list(report.broken) == ["higher_priority_comes_first"]
    assert "missing: evict_is_idempotent" in str(report)
    assert "BROKEN: higher_priority_comes_first" in str(report)
    assert "priorities as received" in str(report)
