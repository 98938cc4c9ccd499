"""How many jobs there were, by time: sampled by workers and dashboards, and kept with the broker."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

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
"""Whoever writes the entry of a time takes its sample."""

Sample = dict[str, list[int | None]]
"""By queue: how many in each state of SHOWN; None: not known."""


def sample(broker: Broker, now: float) -> float:
    """Take the sample of this time, unless somebody has. Returns when the next one is due.

    Of any number of processes that do this one counts the jobs. Raises BrokerError; Unsupported if nothing can be counted.
    """
    if broker.kv.put_if_absent(TURN, [Entry(_key(GRAINS[0], now), b"", EVERY)])[0]:
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
            sample = decoded(value, Sample)
            if sample is None or any(len(row) != len(SHOWN) for row in sample.values()):
                continue
            rows = [sample[queue]] if queue in sample else ([] if queue else list(sample.values()))
            found.append((float(key), [_sum(column) for column in zip(*rows, strict=True)] or [0] * len(SHOWN)))
    return found


def _sum(column: Sequence[int | None]) -> int | None:
    known = [number for number in column if number is not None]
    return sum(known) if known else None


def _key(grain: Grain, now: float) -> str:
    return f"{int(now // grain.width * grain.width):012d}"


def _namespace(grain: Grain) -> str:
    return grain.namespace.replace("history", "depth")
