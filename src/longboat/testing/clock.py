"""A clock that tests move by hand."""

from __future__ import annotations

import threading
import time


class FakeClock:
    """Stands still until it is advanced. Safe to use from any thread."""

    def __init__(self, now: float | None = None) -> None:
        self._lock = threading.Lock()
        self._now = time.time() if now is None else now
        self._monotonic = 0.0

    def now(self) -> float:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    def advance(self, seconds: float) -> None:
        """Let time pass: both clocks go on together."""
        with self._lock:
            self._now += seconds
            self._monotonic += seconds
