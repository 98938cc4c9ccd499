"""What a clause is, the list of them all, and how an adapter is run against it."""

from __future__ import annotations

import functools
import traceback
from collections.abc import Callable, Collection
from typing import Protocol, overload

import msgspec

from longboat.contract.broker import Broker
from longboat.contract.capabilities import Capability
from longboat.testing.conformance.stage import Stage


class NewBroker(Protocol):
    """A new, empty store of the broker under test."""

    def open(self) -> Broker:
        """Another client of this store."""
        ...

    def inject(self, raw: bytes, queue: str) -> None:
        """Store these bytes as a message that is ready in the queue, as a faulty or newer program would."""
        ...

    # Of a broker with Capability.TRANSACTIONAL also `connect() -> Any`: a connection of a program's to the store's database.


class Clause(msgspec.Struct, frozen=True):
    """One promise of the contract."""

    name: str
    subject: str
    promise: str
    check: Callable[[NewBroker], None]
    """Returns if the promise is kept; raises AssertionError if it is broken."""
    needs: frozenset[Capability] = frozenset()
    """What a broker can do that is held to it."""


class Report(msgspec.Struct):
    """What became of each clause, by name."""

    kept: list[str]
    broken: dict[str, str]
    """With the traceback."""
    missing: list[str]
    """Not run, since the broker does not declare what they need."""

    def __str__(self) -> str:
        lines = [f"{len(self.kept)} kept, {len(self.broken)} broken, {len(self.missing)} missing"]
        lines += [f"missing: {name}" for name in self.missing]
        lines += [f"BROKEN: {name}\n{why}" for name, why in self.broken.items()]
        return "\n".join(lines)


CLAUSES: list[Clause] = []


Play = Callable[[Stage], None]
Check = Callable[[NewBroker], None]


@overload
def clause(play: Play) -> Check: ...
@overload
def clause(*, needs: Collection[Capability]) -> Callable[[Play], Check]: ...
def clause(play: Play | None = None, *, needs: Collection[Capability] = ()) -> Check | Callable[[Play], Check]:
    """Register a clause: its name, as its docstring the promise, and what it needs, the NEEDS of its module included."""

    def register(play: Play) -> Check:
        @functools.wraps(play)
        def check(new: NewBroker) -> None:
            with Stage(new.open, new.inject, getattr(new, "connect", None)) as stage:
                play(stage)

        promise = " ".join((play.__doc__ or "").split())
        subject = play.__module__.rpartition(".")[2]
        wanted = frozenset(needs) | play.__globals__.get("NEEDS", set())
        CLAUSES.append(Clause(play.__name__, subject, promise, check, wanted))
        return check

    return register if play is None else register(play)


def missing(capabilities: Collection[Capability]) -> list[Clause]:
    """The clauses that a broker with these capabilities is not held to."""
    return [each for each in CLAUSES if not each.needs <= frozenset(capabilities)]


def run(new: Callable[[], NewBroker], *, only: Collection[str] | None = None) -> Report:
    """Hold a broker to each clause whose needs it declares, or to those named of these; never raises for a broken one.

    Each clause has a store of its own.
    """
    broker = new().open()
    capabilities = broker.capabilities
    broker.close()
    report = Report([], {}, [])
    for each in CLAUSES:
        if only is not None and each.name not in only:
            continue
        if not each.needs <= capabilities:
            report.missing.append(each.name)
            continue
        try:
            each.check(new())
        except Exception:
            report.broken[each.name] = traceback.format_exc()
        else:
            report.kept.append(each.name)
    return report
