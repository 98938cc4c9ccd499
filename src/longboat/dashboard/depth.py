"""How many jobs there were, by time. Sampled while a dashboard runs, and kept with the broker for all dashboards."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Sequence

import msgspec

from longboat.contract.kv import KV, Entry
from longboat.core.clock import SYSTEM
from longboat.core.codec import decoded
from longboat.core.job import State
from longboat.dashboard.site import Site
from longboat.errors import BrokerError, Unsupported
from longboat.observe.history import GRAINS, Grain, pages
from longboat.observe.numbers import Numbers

SHOWN = (State.READY, State.SCHEDULED, State.WAITING, State.RUNNING, State.DEAD)
QUEUES = 500
"""Queues in one sample: the fullest ones."""

Sample = dict[str, list[int | None]]
"""By queue: how many in each state of SHOWN; None: not known."""


class Sampler:
    """A thread that takes a sample every 10 s. Any number may run: only one of them stores each sample."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="longboat-depth", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.is_set():
            now = SYSTEM.now()
            try:
                keep(self._site.broker.kv, self._site.counts(), now)
            except Unsupported:
                return
            except BrokerError:
                logging.getLogger("longboat.dashboard").debug("no sample: the broker does not answer")
            width = GRAINS[0].width
            self._over.wait(width - now % width)


def keep(kv: KV, counts: Numbers, now: float) -> None:
    """Write a sample for this time, unless there is one."""
    queues = {queue for queue, state in counts.counts if state in SHOWN}
    sample: Sample = {queue: [counts.of(queue, state) for state in SHOWN] for queue in queues}
    fullest = Counter({queue: sum(filter(None, row)) for queue, row in sample.items()}).most_common(QUEUES)
    value = msgspec.msgpack.encode({queue: sample[queue] for queue, _ in fullest})
    for grain in GRAINS:
        kv.put_if_absent(_namespace(grain), [Entry(f"{int(now // grain.width * grain.width):012d}", value, grain.keep)])


def samples(kv: KV, grain: Grain, since: float, queue: str = "") -> list[tuple[float, list[int | None]]]:
    """(time, how many in each state of SHOWN), for one queue or for all."""
    found = []
    for entries in pages(kv, _namespace(grain), f"{max(0, int(since)):012d}"):
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


def _namespace(grain: Grain) -> str:
    return grain.namespace.replace("history", "depth")
