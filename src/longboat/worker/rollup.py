"""Rollup: makes one entry of all that workers wrote of a bucket of time, once it is over, however many workers there are."""

from __future__ import annotations

import math

from longboat.contract.kv import ENTRY_LIMIT, KV, Entry
from longboat.core.clock import SYSTEM
from longboat.observe.history import GRAINS, Grain, note_key, noted
from longboat.observe.tally import Slice, add_up, encoded
from longboat.worker.maintenance import BUDGET

NAMESPACE = "history.rolled"
"""By grain: up to which start all is rolled up, and whose turn it is."""
EVERY = 60.0
TURN = 50.0
"""Seconds for which one worker has the turn. It uses the first half of them, so that no two roll up at the same time."""
SETTLED = 1800.0
"""Seconds after its end from which on nobody is assumed to write to a bucket, however much the workers' clocks differ."""
LARGEST = ENTRY_LIMIT // 2
"""Bytes that an entry may have; more stays in several entries."""


class Rollup:
    """A maintenance task. Any number of workers may have one: they take turns."""

    def __init__(self, kv: KV) -> None:
        self._kv = kv
        self._due = SYSTEM.monotonic() + EVERY
        self._mine: list[Grain] = []
        """The grains that it is this worker's turn to roll up, until `_over`."""
        self._over = 0.0

    def run(self, now: float) -> float:
        began = SYSTEM.monotonic()
        if began >= self._due:
            self._due, self._over = began + EVERY, began + TURN / 2
            self._mine = [grain for grain in GRAINS if self._take_turn(grain)]
        while self._mine and SYSTEM.monotonic() < self._over:
            if not self.roll(self._mine[0], now, began + BUDGET):
                return now
            del self._mine[0]
        return now + self._due - began

    def _take_turn(self, grain: Grain) -> bool:
        return self._kv.put_if_absent(NAMESPACE, [Entry(f"turn:{grain.namespace}", b"", TURN)])[0]

    def roll(self, grain: Grain, now: float, give_up: float = math.inf) -> bool:
        """Roll up the buckets that have been over for long enough, until this monotonic time; whether that was all."""
        key, until = f"to:{grain.namespace}", now - SETTLED - grain.width
        value = self._kv.read(NAMESPACE, [key])[0]
        try:
            since = float(value or 0.0)
        except ValueError:
            since = 0.0
        if not now - grain.keep <= since <= now:
            since = now - grain.keep  # none yet, or by a clock that was wrong
        keys: list[str]
        sums: Slice
        start, keys, sums = since, [], {}
        for begun, name, slice_ in noted(self._kv, grain.namespace, since, until):
            if begun != start:
                self._merge(grain, start, keys, sums, now)
                start, keys, sums = begun, [], {}
                if SYSTEM.monotonic() > give_up:
                    break
            keys.append(name)
            add_up(sums, slice_)
        else:
            self._merge(grain, start, keys, sums, now)
            start = until
        if start > since:
            self._kv.write(NAMESPACE, [Entry(key, str(start).encode(), 86400.0)])
        return start >= until

    def _merge(self, grain: Grain, start: float, keys: list[str], sums: Slice, now: float) -> None:
        value = encoded(sums)
        if len(keys) < 2 or len(value) > LARGEST:
            return
        whole = note_key(start, "")
        keep = max(1.0, grain.keep - (now - start))
        gone = [Entry(key, None) for key in keys if key != whole]
        self._kv.write(grain.namespace, [*gone, Entry(whole, value, keep)])
