"""A clock that tests move by hand."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from longboat.core.clock import SYSTEM, Duration, seconds


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


START = 2051222400.0
"""Midnight in UTC, on Monday, 1 January 2035: schedules are due at the same moments in every run of a test."""


class MovedClock(FakeClock):
    """Stands still until it is moved, by all that falls due on the way.

    It begins at midnight in UTC, on Monday, 1 January 2035.
    """

    def __init__(self, passing: Callable[[float], None]) -> None:
        """`passing`: advances the clock to a time, and does what is due."""
        super().__init__(START)
        self._passing = passing
        self._since: float | None = None

    def move(self, duration: Duration) -> None:
        """Let so much time pass at once: `clock.move("1h")`. What becomes due then waits to be run."""
        self._passing(self.now() + seconds(duration))

    def go(self) -> None:
        """From now on it goes by itself, as other clocks do."""
        self._since = self._since or SYSTEM.monotonic()

    def now(self) -> float:
        """Seconds since the epoch."""
        return super().now() + self._gone()

    def monotonic(self) -> float:
        """Seconds since the test began."""
        return super().monotonic() + self._gone()

    def _gone(self) -> float:
        return 0.0 if self._since is None else SYSTEM.monotonic() - self._since
