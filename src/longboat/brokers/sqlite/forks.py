"""Forks: SQLite has locks of its own for a whole process; a child that inherits one while it is held waits for ever.

So a fork waits until no thread is within SQLite, and threads that want to enter wait for the fork.
"""

from __future__ import annotations

import os
import threading
import time

PATIENCE = 2.0
"""Seconds that a fork waits, at most: a call of SQLite may take very long, or be what forks."""
PAUSE = 0.0005


class Visits:
    """`with VISITS:` goes around what calls SQLite. Never nest it."""

    def __init__(self) -> None:
        self._renew()
        os.register_at_fork(before=self._hold, after_in_parent=self._resume, after_in_child=self._renew)

    def __enter__(self) -> None:
        with self._entrance, self._lock:
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1

    def _renew(self) -> None:
        self._entrance = threading.Lock()
        self._lock = threading.Lock()
        self._inside = 0

    def _hold(self) -> None:
        self._entrance.acquire()
        until = time.monotonic() + PATIENCE
        while self._inside and time.monotonic() < until:
            time.sleep(PAUSE)

    def _resume(self) -> None:
        self._entrance.release()


VISITS = Visits()
