"""What sabotaged brokers are made with, and the list of sabotages: each breaks the promise of the clauses it names."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

Sabotage = Callable[[Any], None]

SABOTAGES: dict[str, Sabotage] = {}


def breaks(*clauses: str) -> Callable[[Sabotage], Sabotage]:
    def register(sabotage: Sabotage) -> Sabotage:
        for clause in clauses:
            assert clause not in SABOTAGES, clause
            SABOTAGES[clause] = sabotage
        return sabotage

    return register


def around(thing: Any, name: str, instead: Callable[..., Any]) -> None:
    """Replace a method by one that is given the original first."""
    original = getattr(thing, name)
    setattr(thing, name, lambda *args, **named: instead(original, *args, **named))


def assign(thing: Any, name: str, value: Any) -> Any:
    """setattr, as an expression."""
    setattr(thing, name, value)


def consumers(broker: Any, change: Callable[[Any], None]) -> None:
    """Do this to every consumer that the broker makes."""
    _made(broker, "consumer", change)


def listeners(broker: Any, change: Callable[[Any], None]) -> None:
    _made(broker.results, "listen", change)


def _made(thing: Any, name: str, change: Callable[[Any], None]) -> None:
    def make(original: Callable[..., Any], *args: Any, **named: Any) -> Any:
        made = original(*args, **named)
        change(made)
        return made

    around(thing, name, make)


@contextmanager
def quietly(broker: Any) -> Any:
    """Within it the broker wakes nobody."""
    changed = broker._store.changed
    with changed:
        changed.notify_all = lambda: None
        try:
            yield
        finally:
            del changed.notify_all
