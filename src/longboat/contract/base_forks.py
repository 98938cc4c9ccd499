"""What a broker makes anew in a forked child, where the connections, and perhaps locks that are held, are the parent's."""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class Remade(Protocol):
    """It has `after_fork`, which runs in the child, where it is the only thread."""

    def after_fork(self) -> None: ...


_remade: weakref.WeakSet[Remade] = weakref.WeakSet()
_left_alone: list[object] = []


def remake_after_fork(thing: Remade) -> None:
    """Call its `after_fork` in every child that is forked while it lives."""
    _remade.add(thing)


def leave_alone(*connections: object) -> None:
    """They are the parent's: kept for ever, since not even their destructors may close them here."""
    _left_alone.extend(connections)


def _after_fork() -> None:
    for thing in list(_remade):
        thing.after_fork()


os.register_at_fork(after_in_child=_after_fork)
