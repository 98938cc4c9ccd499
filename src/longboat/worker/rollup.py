"""Rollup: one note of all that workers wrote of a bucket of time, once it is over: their number counts no more."""

from __future__ import annotations

from longboat.contract.kv import ENTRY_LIMIT, KV, Entry
from longboat.core.clock import SYSTEM
from longboat.observe.history import GRAINS, Grain, Slice, add_up, encoded, note_key, noted

NAMESPACE = "history.rolled"
"""By grain: up to which start all is rolled up, and who does it now."""
EVERY = 60.0
TURN = 50.0
"""Seconds for which one worker has the turn. It takes seconds: no two roll up at the same time."""
SETTLED = 1800.0
"""Seconds after its end when a bucket is taken to be written to no more, whatever the workers' clocks differ by."""
PATIENCE = 2.0
"""Seconds of one turn: the rest is for the next one."""
LARGEST = ENTRY_LIMIT // 2
"""Bytes that a note may have: what is more stays in several."""


class Rollup:
    """Of one thread. Any number of workers may have one: they take turns."""

    def __init__(self, kv: KV) -> None:
        self._kv = kv
        self._due = SYSTEM.monotonic() + EVERY

    def run(self, now: float) -> None:
        """Do what is due at this wall-clock time. May raise BrokerError: then it is done later."""
        if SYSTEM.monotonic() < self._due:
            return
        self._due = SYSTEM.monotonic() + EVERY
        for grain in GRAINS:
            if self._kv.put_if_absent(NAMESPACE, [Entry(f"turn:{grain.namespace}", b"", TURN)])[0]:
                self.roll(grain, now)

    def roll(self, grain: Grain, now: float) -> None:
        """Roll up what has been over for long enough; who has the turn."""
        key, until = f"to:{grain.namespace}", now - SETTLED - grain.width
        value = self._kv.read(NAMESPACE, [key])[0]
        since = float(value) if value else now - grain.keep
        if since > now:
            since = now - grain.keep  # by a clock that was wrong
        give_up = SYSTEM.monotonic() + PATIENCE
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

    def _merge(self, grain: Grain, start: float, keys: list[str], sums: Slice, now: float) -> None:
        value = encoded(sums)
        if len(keys) < 2 or len(value) > LARGEST:
            return
        whole = note_key(start, "")
        keep = max(1.0, grain.keep - (now - start))
        gone = [Entry(key, None) for key in keys if key != whole]
        self._kv.write(grain.namespace, [*gone, Entry(whole, value, keep)])
