"""Quarantine: jobs whose last worker died while it held them run again one after the other.

A job that kills its worker takes down whatever runs beside it. What comes back from a dead worker is therefore started
singly, each noted with the broker *before* it starts: should the worker die again, the broker knows which one ran, and
the innocent ones run through in turn. A suspect that has run for a while without harm lets the next one start.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence

from longboat.broker import Lease
from longboat.executor import Call

STAGGER = 1.0
"""Seconds, times the number of the attempt, that a suspect runs before the next one starts beside it."""


class Quarantine:
    """Holds suspects. Its thread lives only while there are some."""

    def __init__(self, note: Callable[[Sequence[Lease]], None], submit: Callable[[Call], None]) -> None:
        self._note = note
        self._submit = submit
        self._lock = threading.Lock()
        self._waiting: deque[Call] = deque()
        self._current: Call | None = None
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def add(self, calls: Sequence[Call]) -> None:
        with self._lock:
            self._waiting.extend(calls)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="longboat-quarantine", daemon=True)
                self._thread.start()

    def settled(self, lease: Lease) -> None:
        """The broker knows how this one ended. Before that, the next one's death could still be blamed on it."""
        current = self._current
        if current is not None and lease is current.lease:
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
                self._over.clear()
                call = self._current = self._waiting.popleft()
            self._note([call.lease])
            call.noted = True
            self._submit(call)
            self._over.wait(STAGGER * call.lease.attempt)
