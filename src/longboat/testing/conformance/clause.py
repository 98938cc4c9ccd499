"""What a clause is, the list of them all, and how an adapter is run against it."""

from __future__ import annotations

import functools
import traceback
from collections.abc import Callable, Collection
from typing import Protocol

import msgspec

from longboat.contract.broker import Broker
from longboat.testing.conformance.stage import Stage


class NewBroker(Protocol):
    """A new, empty store of the broker under test."""

    def open(self) -> Broker:
        """Another client of this store."""
        ...

    def inject(self, raw: bytes, queue: str) -> None:
        """Store these bytes as a message that is ready in the queue, as a faulty or newer program would."""
        ...


class Clause(msgspec.Struct, frozen=True):
    """One promise of the contract."""

    name: str
    subject: str
    promise: str
    check: Callable[[NewBroker], None]
    """Returns if the promise is kept; raises AssertionError if it is broken."""


class Report(msgspec.Struct):
    """What became of each clause, by name."""

    kept: list[str]
    broken: dict[str, str]
    """With the traceback."""
    missing: list[str]
    """Not run, since the broker declares that it cannot keep them."""

    def __str__(self) -> str:
        lines = [f"{len(self.kept)} kept, {len(self.broken)} broken, {len(self.missing)} missing"]
        lines += [f"missing: {name}" for name in self.missing]
        lines += [f"BROKEN: {name}\n{why}" for name, why in self.broken.items()]
        return "\n".join(lines)


CLAUSES: list[Clause] = []


def clause(play: Callable[[Stage], None]) -> Callable[[NewBroker], None]:
    """Register a clause: its name, and as its docstring the promise."""

    @functools.wraps(play)
    def check(new: NewBroker) -> None:
        with Stage(new.open, new.inject) as stage:
            play(stage)

    name, promise = play.__name__, " ".join((play.__doc__ or "").split())
    CLAUSES.append(Clause(name, play.__module__.rpartition(".")[2], promise, check))
    return check


def run(new: Callable[[], NewBroker], *, only: Collection[str] | None = None) -> Report:
    """Hold a broker to every clause, or to those named, each in a store of its own; never raises for a broken one."""
    broker = new().open()
    missing = broker.missing
    broker.close()
    report = Report([], {}, [])
    for each in CLAUSES:
        if only is not None and each.name not in only:
            continue
        if each.name in missing:
            report.missing.append(each.name)
            continue
        try:
            each.check(new())
        except Exception:
            report.broken[each.name] = traceback.format_exc()
        else:
            report.kept.append(each.name)
    return report
