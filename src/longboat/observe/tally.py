"""Tally: what became of the attempts of one task in one queue, and how long they took; and how it is stored."""

from __future__ import annotations

from typing import Literal

import msgspec

from longboat.contract.kv import ENTRY_LIMIT
from longboat.core.codec import decoded
from longboat.observe.sketch import LAST, Sketch, coarse, merge, packed, place, top, unpacked

LAYOUT: Literal[2] = 2
"""The version of stored slices. Version 1, which had wider buckets, is read too."""
LATENCIES = ("wait", "run", "limited", "parents")
"""The sketches of a tally, in the order in which they are stored: more may follow."""


class Tally(msgspec.Struct):
    """Outcomes and durations of the attempts of one task in one queue, in one time bucket."""

    succeeded: int = 0
    retried: int = 0
    dead: int = 0
    cancelled: int = 0
    wait: Sketch = {}
    """Seconds from when a job could start until it did, of jobs with neither limits nor parents."""
    run: Sketch = {}
    """Seconds that attempts took."""
    limited: Sketch = {}
    """Seconds from when a job with limits was due until it started: held by its limits, and in its queue."""
    parents: Sketch = {}
    """Seconds from when a job with parents was due until it started: until they had ended, and in its queue."""

    def add(self, other: Tally) -> None:
        self.succeeded += other.succeeded
        self.retried += other.retried
        self.dead += other.dead
        self.cancelled += other.cancelled
        for name in LATENCIES:
            if more := getattr(other, name):
                merge(getattr(self, name), more)

    @property
    def ended(self) -> int:
        return self.succeeded + self.retried + self.dead + self.cancelled


Slice = dict[tuple[str, str], Tally]
"""One time bucket, by (queue, task)."""


def add_up(sums: Slice, more: Slice) -> None:
    for name, tally in more.items():
        sums.setdefault(name, Tally()).add(tally)


class _Row(msgspec.Struct, array_like=True):
    """A tally as it is stored."""

    queue: str
    task: str
    counts: tuple[int, int, int, int]
    latencies: list[list[int]]


def encoded(slice_: Slice, step: int = 1) -> bytes:
    """A slice as an entry's value; so many buckets of a sketch become one."""
    rows = []
    for (queue, task), tally in slice_.items():
        counts = (tally.succeeded, tally.retried, tally.dead, tally.cancelled)
        rows.append(_Row(queue, task, counts, [packed(coarse(getattr(tally, name), step)) for name in LATENCIES]))
    return msgspec.msgpack.encode((LAYOUT, rows))


def fitting(slice_: Slice, step: int = 1) -> bytes:
    """A slice as an entry's value, coarser if it has to be: an entry that is refused would be tried for ever."""
    value = encoded(slice_, step)
    while len(value) > ENTRY_LIMIT and step < LAST:
        step *= 2
        value = encoded(slice_, step)
    return value


def slice_of(value: bytes) -> Slice | None:
    """The slice that an entry holds; None if it cannot be read, say because it is of a later version."""
    stored = decoded(value, tuple[Literal[2], list[_Row]])
    if stored is None:
        return _first_layout(value)
    found: Slice = {}
    for row in stored[1]:
        tally = found[row.queue, row.task] = Tally(*row.counts)
        for name, numbers in zip(LATENCIES, row.latencies, strict=False):
            setattr(tally, name, unpacked(numbers))
    return found


class _First(msgspec.Struct, array_like=True):
    """A tally of version 1."""

    succeeded: int
    retried: int
    dead: int
    cancelled: int
    wait: list[int]
    run: list[int]


_EDGES = tuple(round(base * 10.0**power, 9) for power in range(-4, 5) for base in (1.0, 2.0, 5.0))
"""The upper ends of the buckets of version 1, in seconds; one more held what was above."""


def _first_layout(value: bytes) -> Slice | None:
    rows = decoded(value, list[tuple[str, str, _First]])
    if rows is None:
        return None
    return {
        (queue, task): Tally(row.succeeded, row.retried, row.dead, row.cancelled, _spread(row.wait), _spread(row.run))
        for queue, task, row in rows
    }


def _spread(histogram: list[int]) -> Sketch:
    """As if the durations in each bucket of version 1 lay evenly in it."""
    sketch: Sketch = {}
    for number, count in enumerate(histogram[: len(_EDGES) + 1]):
        low = _EDGES[number - 1] if number else 0.0
        high = _EDGES[min(number, len(_EDGES) - 1)]
        given = 0
        for bucket in range(place(low), place(high) + 1) if count > 0 else ():
            share = 1.0 if high <= low else min(1.0, (top(bucket) - low) / (high - low))
            if (until := round(count * share)) > given:
                sketch[bucket] = sketch.get(bucket, 0) + until - given
                given = until
    return sketch
