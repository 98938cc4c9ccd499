"""How many jobs there were, by time: sampled by workers and dashboards, and kept with the broker."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Sequence
from typing import NamedTuple

import msgspec

from longboat.contract.broker import Broker
from longboat.contract.kv import KV, Entry
from longboat.core.codec import decoded
from longboat.core.job import State
from longboat.observe.history import GRAINS, Grain, pages
from longboat.observe.numbers import Numbers, numbers

SHOWN = (State.READY, State.SCHEDULED, State.WAITING, State.RUNNING, State.DEAD)
QUEUES = 500
"""Queues in one sample: the fullest ones."""

EVERY = GRAINS[0].width
"""Seconds from one sample to the next."""
TURN = "depth.turn"
"""Whoever writes the entry of a time takes its sample. Its value is the exact time."""
LATE = 60.0
"""Seconds after which a sample is too old to tell what happens now."""

Sample = dict[str, list[int | None]]
"""By queue: how many in each state of SHOWN; None: not known."""


class Taken(NamedTuple):
    """A sample, and when it was taken."""

    at: float
    sample: Sample

    def of(self, queue: str, states: Collection[State]) -> int | None:
        """How many jobs of the queue were in these states, as far as that was known; None: it is not known of any."""
        if queue not in self.sample and len(self.sample) < QUEUES:
            return 0
        return _sum([n for state, n in zip(SHOWN, self.sample.get(queue, ()), strict=False) if state in states])


def sample(broker: Broker, now: float) -> float:
    """Take the sample of this time, unless somebody has. Returns when the next one is due.

    Of any number of processes that do this one counts the jobs. Raises BrokerError; Unsupported if nothing can be counted.
    """
    if broker.kv.put_if_absent(TURN, [Entry(_key(GRAINS[0], now), str(now).encode(), LATE)])[0]:
        keep(broker.kv, numbers(broker), now)
    return now // EVERY * EVERY + EVERY


def keep(kv: KV, counts: Numbers, now: float) -> None:
    """Write a sample for this time, unless there is one."""
    queues = {queue for queue, state in counts.counts if state in SHOWN}
    sample: Sample = {queue: [counts.of(queue, state) for state in SHOWN] for queue in queues}
    fullest = Counter({queue: sum(filter(None, row)) for queue, row in sample.items()}).most_common(QUEUES)
    value = msgspec.msgpack.encode({queue: sample[queue] for queue, _ in fullest})
    for grain in GRAINS:
        kv.put_if_absent(_namespace(grain), [Entry(_key(grain, now), value, grain.keep)])


def samples(kv: KV, grain: Grain, since: float, queue: str = "") -> list[tuple[float, list[int | None]]]:
    """(time, how many in each state of SHOWN), for one queue or for all."""
    found = []
    for entries in pages(kv, _namespace(grain), f"{max(0, math.ceil(since) - 1):012d}"):
        for key, value in entries:
            if (sample := _read(value)) is None:
                continue
            rows = [sample[queue]] if queue in sample else ([] if queue else list(sample.values()))
            found.append((float(key), [_sum(column) for column in zip(*rows, strict=True)] or [0] * len(SHOWN)))
    return found


def lately(kv: KV, now: float, age: float) -> Taken | None:
    """The newest sample that is at least so many seconds old; None if that is over LATE ago."""
    keys = [_key(GRAINS[0], now - age - n * EVERY) for n in range(int((LATE - age) // EVERY))]
    times, values = kv.read(TURN, keys), kv.read(_namespace(GRAINS[0]), keys)
    for key, at, value in zip(keys, times, values, strict=True):
        taken = _read(value)
        when = _time(at) or float(key)
        if taken is not None and when <= now - age:
            return Taken(when, taken)
    return None


def first(kv: KV, grain: Grain, since: float) -> Taken | None:
    """The first sample since then."""
    for key, value in kv.entries(_namespace(grain), after=_key(grain, since), limit=1):
        if (taken := _read(value)) is not None:
            return Taken(float(key), taken)
    return None


def _read(value: bytes | None) -> Sample | None:
    sample = decoded(value, Sample)
    return None if sample is None or any(len(row) != len(SHOWN) for row in sample.values()) else sample


def _time(value: bytes | None) -> float | None:
    try:
        return float(value or b"")
    except ValueError:
        return None


def _sum(column: Sequence[int | None]) -> int | None:
    known = [number for number in column if number is not None]
    return sum(known) if known else None


def _key(grain: Grain, now: float) -> str:
    return f"{int(now // grain.width * grain.width):012d}"


def _namespace(grain: Grain) -> str:
    return grain.namespace.replace("history", "depth")
