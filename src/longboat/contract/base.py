"""The skeleton of consumers and listeners: flags, waiting, closing. A broker adds how it claims, looks and waits.

The other bases: base_pages.py (pages and cursors), base_forks.py (what a forked child makes anew), base_kv.py (sizes).
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Sequence

from longboat.contract.broker import Lease, Pulse
from longboat.core.clock import SYSTEM
from longboat.core.job import Result

OVER_PAUSE = 0.05
"""Seconds that the `receive` of a lost consumer takes: a caller that has not noticed yet must not spin."""
RESERVED = 100
"""Ready jobs that are left to each consumer that waits, by one that has just got some."""
OTHERS_FIRST = 0.01
"""Seconds for which they are left to it."""
YIELDS = 5
"""How often in a row: one that is frozen, or busy after all, holds up nobody."""


class BaseConsumer(ABC):
    """One thread receives at a time. Any thread may settle, extend, wake and close meanwhile."""

    def __init__(self, id: str) -> None:
        self.id = id
        self._woken = False
        self._over = False
        """Its leases are lost, or it was closed."""
        self._closed = False
        self._receiving = threading.Lock()
        self._closing = threading.Lock()
        self._cancelled = 0
        """Changes whenever other leases of this consumer are to be cancelled; `_claim` keeps it up to date."""
        self._told = 0
        """The `_cancelled` that the caller knows of."""
        self._shares = False
        """Whether `_claim` is to leave jobs to others that wait, by `_part`."""
        self._served = False
        """It has got jobs since it waited last."""
        self._yields = False
        """It got nothing, because what is ready is the others'."""
        self._yielded = 0
        """How often it yielded since it waited last."""

    def receive(self, n: int, *, wait: float) -> list[Lease]:
        until = SYSTEM.monotonic() + wait
        with self._receiving:
            try:
                return self._receive(n, until)
            finally:
                self._woken = False

    def _receive(self, n: int, until: float) -> list[Lease]:
        while not self._over:
            self._shares, self._yields = self._yielded < YIELDS and SYSTEM.monotonic() < until, False
            leases = self._claim(n, until)
            self._served = bool(leases)
            if leases or self._must_return() or SYSTEM.monotonic() >= until:
                return leases
            self._yielded = self._yielded + 1 if self._yields else 0
            self._wait(min(until, SYSTEM.monotonic() + OTHERS_FIRST) if self._yields else until)
        if not self._closed:
            threading.Event().wait(min(OVER_PAUSE, max(0.0, until - SYSTEM.monotonic())))
        return []

    def _must_return(self) -> bool:
        if self._cancelled != self._told:
            self._told = self._cancelled
            return True
        return self._woken or self._over

    def _part(self, n: int, ready: int, others: int) -> int:
        """How many of `n` jobs to claim while so many are ready and so many other consumers wait for them."""
        if ready == 0:  # parked jobs, perhaps
            return n
        part = ready - others * RESERVED if self._served else -(-ready // (others + 1))
        self._yields = part <= 0
        return max(0, min(n, part))

    def extend(self) -> Pulse:
        cancelled = None if self._over else self._beat()
        if cancelled is None:
            self._over = True
            return Pulse(False)
        return Pulse(True, cancelled)

    def wake(self) -> None:
        if not self._woken and not self._closed:
            self._woken = True
            self._ring()

    def close(self) -> None:
        with self._closing:
            if self._closed:
                return
            self._closed = self._over = True
        self._ring()
        self._end()

    @abstractmethod
    def _claim(self, n: int, until: float) -> list[Lease]:
        """Lease up to `n` jobs now, without waiting. Sets `_over` when the consumer is. `until`: when `receive` ends."""

    @abstractmethod
    def _wait(self, until: float) -> None:
        """Return at `until` at the latest, at a `_ring`, and when there may be something to claim."""

    @abstractmethod
    def _beat(self) -> Sequence[str] | None:
        """One heartbeat. Returns the ids of leased jobs that are to be cancelled; None: this consumer is over."""

    @abstractmethod
    def _ring(self) -> None:
        """End the `_wait` that waits, or the next one."""

    @abstractmethod
    def _end(self) -> None:
        """Called once, by `close`: give back what is held, and let go of connections."""


class BaseListener(ABC):
    """One thread waits at a time. Any thread may watch, forget, wake and close meanwhile."""

    def __init__(self) -> None:
        self._watched: set[str] = set()
        self._fresh: set[str] = set()
        """Watched since the last look: they may have ended before that."""
        self._lock = threading.Lock()
        self._waiting = threading.Lock()
        self._woken = False
        self._closed = False

    def watch(self, ids: Sequence[str]) -> None:
        with self._lock:
            self._watched.update(ids)
            self._fresh.update(ids)
        self._ring()

    def forget(self, ids: Sequence[str]) -> None:
        with self._lock:
            self._unwatch(ids)

    def wait(self, timeout: float) -> list[Result]:
        until = SYSTEM.monotonic() + timeout
        with self._waiting:
            try:
                return self._hear(until)
            finally:
                self._woken = False

    def _hear(self, until: float) -> list[Result]:
        while not self._closed:
            results = self._news()
            if results or self._woken or SYSTEM.monotonic() >= until:
                return results
            if not self._fresh:  # else an id was watched during the look, which may have heard its ring
                self._wait(until)
        return []

    def _news(self) -> list[Result]:
        """What has ended of the watched ids, each told once. Nothing is lost when the look raises."""
        with self._lock:
            fresh, self._fresh = self._fresh, set()
        try:
            found = self._look(fresh)
        except BaseException:
            with self._lock:
                self._fresh |= fresh & self._watched
            raise
        with self._lock:
            given = [result for result in found if result.id in self._watched]
            self._unwatch([result.id for result in given])
        return given

    def _unwatch(self, ids: Collection[str]) -> None:
        """Called with the lock held."""
        self._watched.difference_update(ids)
        self._fresh.difference_update(ids)

    def wake(self) -> None:
        self._woken = True
        self._ring()

    def close(self) -> None:
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self._ring()
        self._end()

    @abstractmethod
    def _look(self, fresh: Collection[str]) -> Iterable[Result]:
        """Results that have come since the last look, and those of `fresh` that have ended, without waiting."""

    @abstractmethod
    def _wait(self, until: float) -> None:
        """Return at `until` at the latest, at a `_ring`, and when something may have ended."""

    @abstractmethod
    def _ring(self) -> None:
        """End the `_wait` that waits, or the next one."""

    @abstractmethod
    def _end(self) -> None:
        """Called once, by `close`: let go of connections."""
