"""A clause declares all that it uses: on a broker that can do nothing else it is kept."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from longboat.contract.broker import Broker, Settlement
from longboat.contract.capabilities import EXTRAS, Capability
from longboat.core import codec
from longboat.core.clock import SYSTEM
from longboat.core.job import Job, Park, State
from longboat.testing.conformance import CLAUSES, Clause
from tests.rigs.harnesses import NewMemory

PARTS = {"results": Capability.REPLIES, "kv": Capability.KV, "transfer": Capability.TRANSFER}
CALLS: dict[str, Capability | tuple[Capability, ...]] = {
    "evict": Capability.EVICT,
    "pause": Capability.PAUSE,
    "find": Capability.LOOKUP,
    "consumers": Capability.CONSUMERS,
    "cancel": (Capability.CANCEL, Capability.REVOKE),
    "retry": Capability.DEAD_JOBS,
    "purge": Capability.PURGE,
    "limits": Capability.LIMITS,
}


IN_MEMORY = [clause for clause in CLAUSES if Capability.TRANSACTIONAL not in clause.needs]
"""Those that a store in memory can be held to."""


class Undeclared(AssertionError):
    """A clause used what it does not say it needs."""


class Narrow:
    """A broker, or a part of one, that can do what is needed and nothing else."""

    def __init__(self, thing: Any, needs: frozenset[Capability]) -> None:
        self._thing = thing
        self._needs = needs

    @property
    def capabilities(self) -> frozenset[Capability]:
        # A broker that keeps house by itself needs no TIDY for what the clauses say of it; this one has to be told to.
        return self._needs | {Capability.TIDY}

    @property
    def inspector(self) -> Any:
        return Narrow(self._thing.inspector, self._needs)

    def __getattr__(self, name: str) -> Any:
        if capability := PARTS.get(name) or CALLS.get(name):
            self._need(*(capability if isinstance(capability, tuple) else (capability,)))
        return getattr(self._thing, name)

    def _need(self, *any_of: Capability) -> None:
        if not self._needs & set(any_of):
            raise Undeclared(f"it uses {' or '.join(any_of)}")

    def put(self, jobs: Sequence[Job], **named: Any) -> list[str]:
        for job in jobs:
            codec.encode_job(job)  # what no broker takes uses nothing
            for used, capability in (
                (job.expires is not None, Capability.EXPIRY),
                (job.constraints and job.constraints.limits, Capability.LIMITS),
                (job.constraints and job.constraints.fairness_key, Capability.FAIRNESS),
            ):
                if used:
                    self._need(capability)
            if after := set(job.constraints.after if job.constraints else ()):
                chained = len(after) == 1 and after <= {each.id for each in jobs}
                self._need(Capability.DEPENDENCIES, *[Capability.CHAINS] * chained)
        new: list[str] = self._thing.put(jobs, **named)
        return new

    def consumer(self, queues: Sequence[str], **named: Any) -> Any:
        if not queues:
            self._need(Capability.EVERY_QUEUE)
        return Narrow(self._thing.consumer(queues, **named), self._needs)

    def settle(self, settlements: Sequence[Settlement], **named: Any) -> Any:
        if any(isinstance(each.outcome, Park) for each in settlements):
            self._need(Capability.PARKING)
        return self._thing.settle(settlements, **named)

    def counts(self) -> Any:
        self._need(Capability.QUEUE_LENGTHS, Capability.COUNTS)
        return self._thing.counts()

    def jobs(self, state: State, **named: Any) -> Any:
        self._need(Capability.DEAD_JOBS if state is State.DEAD else Capability.LISTS)
        return self._thing.jobs(state, **named)


class NewNarrow(NewMemory):
    needs: frozenset[Capability] = frozenset()

    def open(self) -> Broker:
        narrow: Any = Narrow(self.broker, self.needs)
        return narrow  # type: ignore[no-any-return]  # narrowed while it runs


@pytest.mark.slow
@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("clause", IN_MEMORY, ids=lambda clause: clause.name)
def test_a_clause_needs_what_it_uses(clause: Clause, tmp_path: Path) -> None:
    new = NewNarrow(tmp_path, SYSTEM)
    new.needs = clause.needs
    clause.check(new)


def test_what_is_not_declared_is_noticed(tmp_path: Path) -> None:
    clause = next(each for each in CLAUSES if each.name == "a_known_id_has_no_effect")
    new = NewNarrow(tmp_path, SYSTEM)
    new.needs = clause.needs - {Capability.LOOKUP}
    with pytest.raises(Undeclared, match="lookup"):
        clause.check(new)


def test_every_capability_has_a_clause_but_those_beyond_the_contract() -> None:
    used = {each for clause in CLAUSES for each in clause.needs}
    assert set(Capability) - used == EXTRAS - {Capability.TRANSACTIONAL}
