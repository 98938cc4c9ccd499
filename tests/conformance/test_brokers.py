"""Every clause of the contract against every broker."""

from __future__ import annotations

from pathlib import Path

import pytest

from longboat.core.clock import SYSTEM
from longboat.testing.conformance import CLAUSES, Clause
from tests.rigs.harnesses import ADAPTERS, unavailable

SLOW = {"manager", "redis", "postgres", "rabbitmq", "rabbitmq+store"}
"""Brokers with a server of their own: tried on one Python only, and not by `make check`."""

BROKERS = [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in ADAPTERS]

LONG = {"the_newest_of_very_many_ended_jobs_are_kept", "one_job_after_very_many"}
"""Clauses that take seconds on every broker."""

ALL = [pytest.param(each, marks=pytest.mark.slow if each.name in LONG else (), id=each.name) for each in CLAUSES]


@pytest.mark.parametrize("clause", ALL)
@pytest.mark.parametrize("adapter", BROKERS)
def test_clause(adapter: str, clause: Clause, tmp_path: Path) -> None:
    if reason := unavailable(adapter):
        pytest.skip(reason)
    new = ADAPTERS[adapter](tmp_path, SYSTEM)
    broker = new.open()
    lacking = clause.needs - broker.capabilities
    broker.close()
    if lacking:
        pytest.skip(f"{adapter} cannot {min(lacking).sentence}")
    clause.check(new)
