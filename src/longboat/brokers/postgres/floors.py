"""How far a consumer has come in its queues, so that its claims need not pass over the rows of jobs that are gone.

Deleted rows stay in a table and its indexes until a vacuum, and that leaves those that some open transaction could still
see. A consumer remembers a floor for each queue and rank: a place below which it has found nothing. Jobs that become
ready below it are announced by the smallest of their places, which lowers the floor. Those that nobody announced are found
by a look at everything: one that was put while nobody waited, by a transaction that committed late; one whose claim by
another consumer was rolled back.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

ROUND = 20
"""Bits of a place below its round (schema.sql)."""

READY = "c"
"""Begins the payload of a notification that jobs have become ready. The smallest of their places follows; in programs of
before there were floors, nothing."""
LOOK = "w"
"""The payload that makes consumers look, though no jobs have become ready."""

_FROM = 1000
"""Jobs that a consumer has claimed when it begins to keep floors. Until then there is little to pass over."""
_EVERY = 0.5
"""Seconds between looks at everything, at least, while there are jobs above the floors."""
_SHARE = 20
"""And at least so many times as long as the last one took, whatever it is for: they cost a twentieth of the time."""
_LONGEST = 0.25
"""But of a look that took longer, only so many seconds count: it may have waited for a lock, or swept."""
_RANKS = 16
"""Of one queue that have floors, at most."""
_QUEUES = 100
"""That have floors, at most."""
_LEAST, _MOST = -(2**63), 2**63 - 1

_LISTS = "%(ranks)b::bigint[], %(places)b::bigint[], %(lasts)b::bigint[]"
RANGES = f"unnest(%(of)b::bytea[], {_LISTS}) WITH ORDINALITY AS g (queue, rank, place, last, at)"
"""SQL: the values of `Floors.ranges` as rows, in the order of their jobs."""
RANGES_OF_ONE = f"unnest({_LISTS}) AS g (rank, place, last)"
"""The same for one queue."""
IN_RANGE = "(r.rank, r.place) >= (g.rank, g.place) AND r.rank <= g.last"
"""SQL: the row `r` of `ready`, which is of the right queue, is in the range `g`."""


class Ranges(NamedTuple):
    """The parts of `ready` that are not below a floor."""

    of: list[bytes]
    """Queues."""
    ranks: list[int]
    places: list[int]
    """With the rank: where the range begins."""
    lasts: list[int]
    """The last rank in it."""


def everything(queues: Sequence[bytes]) -> Ranges:
    n = len(queues)
    return Ranges(list(queues), [_LEAST] * n, [_LEAST] * n, [_MOST] * n)


class Floors:
    """Of one consumer. Used by one thread at a time."""

    def __init__(self) -> None:
        self._floors: dict[bytes, dict[int, int]] = {}
        """By queue and rank."""
        self.owed: set[bytes] = set()
        """Queues that have jobs, but that the last look at everything left out: the next claim there looks at everything."""
        self.whole = False
        """This look is one at everything, whatever the floors."""
        self._claimed = 0
        self._began = self._took = 0.0
        """Of the last look at everything: when it began (monotonic time), and the seconds of it that count."""

    def __bool__(self) -> bool:
        return bool(self._floors)

    def ranges(self, queues: Sequence[bytes]) -> Ranges:
        """What is to be looked at: all that is not below a floor, in the order of these queues and of their jobs."""
        if self.whole or not self._floors:
            return everything(queues)
        found = Ranges([], [], [], [])
        for queue in queues:
            floors = sorted(({} if queue in self.owed else self._floors.get(queue, {})).items())
            ranks = [rank for rank, _ in floors]
            found.of.extend([queue] * (len(floors) + 1))
            found.ranks.extend([_LEAST, *ranks])
            found.places.extend([_LEAST, *(place for _, place in floors)])
            found.lasts.extend([*(rank - 1 for rank in ranks), _MOST])
        return found

    def claimed(self, queue: bytes, jobs: Iterable[tuple[int, int]], n: int) -> None:
        """Of `n` jobs, the first in the ranges looked at, these are the last of each rank (rank, place)."""
        self._claimed += n
        self.owed.discard(queue)
        if not n or self._claimed < _FROM:
            return
        floors = self._floors.setdefault(queue, {})
        for rank, place in jobs:
            floors[rank] = place >> ROUND << ROUND  # jobs with fairness keys may still be put into this round
        if len(floors) > _RANKS:
            del self._floors[queue]
        if len(self._floors) > _QUEUES:
            self.clear()

    def left(self, queues: Iterable[bytes]) -> None:
        """A look ended before these queues, which have ready jobs."""
        if self.whole:
            self.owed.update(self._floors.keys() & queues)

    def heard(self, payloads: Iterable[str]) -> None:
        """The payloads of notifications: jobs may have become ready below floors."""
        ready = [payload for payload in payloads if payload.startswith(READY)]
        if not ready or not self._floors:
            return
        if READY in ready:
            self.clear()
            return
        lowest = min(int(payload[len(READY) :]) for payload in ready)
        for floors in self._floors.values():
            for rank, place in floors.items():
                floors[rank] = min(place, lowest)

    def clear(self) -> None:
        self._floors.clear()
        self.owed.clear()

    # --- looks at everything

    def due(self, now: float) -> bool:
        """It is time for one, though there are jobs above the floors."""
        return now - self._began >= max(_EVERY, _SHARE * self._took)

    def pause(self, now: float) -> float:
        """Seconds until it may be time for one, where there is nothing above the floors."""
        return max(0.0, self._began + _SHARE * self._took - now)

    def looked(self, began: float, ended: float) -> None:
        """That was one."""
        self.whole, self._began, self._took = False, began, min(ended - began, _LONGEST)
