"""Forks: SQLite has locks of its own for a whole process, and a child that inherits one held waits for ever.

So a fork waits until no thread is within SQLite, and those who want to go in wait for the fork.
"""

from __future__ import annotations

import os
import threading
import time

PATIENCE = 2.0
"""Seconds that a fork waits, at most: it may be within a call of SQLite itself, or one takes very long."""
PAUSE = 0.0005


class Visits:
    """`with VISITS:` around what calls SQLite; not one within another."""

    def __init__(self) -> None:
        self._renew()
        os.register_at_fork(before=self._hold, after_in_parent=self._let_go, after_in_child=self._renew)

    def __enter__(self) -> None:
        with self._enqueuer, self._lock:
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1

    def _renew(self) -> None:
        self._enqueuer = threading.Lock()
        self._lock = threading.Lock()
        self._inside = 0

    def _hold(self) -> None:
        self._enqueuer.acquire()
        until = time.monotonic() + PATIENCE
        while self._inside and time.monotonic() < until:
            time.sleep(PAUSE)

    def _let_go(self) -> None:
        self._enqueuer.release()


VISITS = Visits()
