"""Quarantine: jobs whose last worker died while it held them run again a few at a time, then one after the other.

A job that kills its worker takes down whatever runs beside it. What comes back from a dead worker is therefore noted with
the broker *before* it starts. The first time that is done for a small group together, since most workers die through no
fault of a job's; should the worker die again, one by one, so that the broker knows which one ran, and the innocent
ones run through in turn. Suspects that have run for a while without harm let the next ones start.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence

from longboat.contract.broker import Lease
from longboat.executors.contract import Call

STAGGER = 1.0
"""Seconds, times the number of the attempt, that suspects run before the next ones start beside them."""

GROUP = 32
"""Suspects of a single death that start together, at most."""


class Quarantine:
    """Holds suspects. Its thread lives only while there are some."""

    def __init__(self, entry: Callable[[Sequence[Lease]], None], submit: Callable[[Call], None]) -> None:
        self._entry = entry
        self._submit = submit
        self._lock = threading.Lock()
        self._waiting: deque[Call] = deque()
        self._current: set[Lease] = set()
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def add(self, calls: Sequence[Call]) -> None:
        with self._lock:
            self._waiting.extend(calls)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="longboat-quarantine", daemon=True)
                self._thread.start()

    def settled(self, lease: Lease) -> None:
        """The broker knows how this one ended. Before that, the death of the next ones could be blamed on it."""
        self._current.discard(lease)
        if not self._current:
            self._over.set()

    def withdraw(self, call: Call) -> bool:
        """Whether the call was waiting here; it waits no more."""
        with self._lock:
            try:
                self._waiting.remove(call)
            except ValueError:
                return False
            return True

    def empty(self) -> list[Call]:
        """Take out all that waits."""
        with self._lock:
            calls = list(self._waiting)
            self._waiting.clear()
        self._over.set()
        return calls

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._thread = None
                    return
                group = self._next()
                self._over.clear()
                self._current = {call.lease for call in group}
            self._entry([call.lease for call in group])
            for call in group:
                call.noted = True
                self._submit(call)
            self._over.wait(STAGGER * max(call.lease.attempt for call in group))

    def _next(self) -> list[Call]:
        group = [self._waiting.popleft()]
        if group[0].lease.worker_deaths == 1:
            while self._waiting and self._waiting[0].lease.worker_deaths == 1 and len(group) < GROUP:
                group.append(self._waiting.popleft())
        return group
