"""Seldom: for what may happen very often, and is told once in a while with a count."""

from __future__ import annotations

import threading
from collections import OrderedDict

from longboat.core.clock import SYSTEM

MOST = 10_000
"""Keys that are remembered."""


class Seldom:
    """Safe to use from any thread."""

    def __init__(self, every: float) -> None:
        """`every`: seconds between two times at which something is told of the same key."""
        self._every = every
        self._keys: OrderedDict[str, tuple[float, int]] = OrderedDict()
        self._lock = threading.Lock()

    def count(self, key: str = "") -> int:
        """How often it has happened since it was told, this time included; 0: it was told a moment ago."""
        now = SYSTEM.monotonic()
        with self._lock:
            told, count = self._keys.get(key, (float("-inf"), 0))
            due = now - told >= self._every
            self._keys[key] = (now, 0) if due else (told, count + 1)
            self._keys.move_to_end(key)
            if len(self._keys) > MOST:
                self._keys.popitem(last=False)
        return count + 1 if due else 0
