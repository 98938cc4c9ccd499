"""A lock that writers of all processes take in turn, so that none waits in SQLite's busy handler, which is unfair."""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import time

from longboat.brokers.sqlite.beside import LOCK, open_file
from longboat.brokers.sqlite.faults import cannot_open
from longboat.core.clock import SYSTEM
from longboat.errors import BrokerUnavailable

_FIRST_PAUSE = 50e-6
_LONGEST_PAUSE = 2e-3


class FileLock:
    """Held by one thread of one process at a time. The kernel releases it when the process dies."""

    def __init__(self, path: str, timeout: float) -> None:
        self._path = path
        self._timeout = timeout
        self._lock = threading.Lock()
        self._fd = -1

    def enter(self) -> None:
        """Raises BrokerUnavailable when others hold it for longer than the timeout."""
        until = SYSTEM.monotonic() + self._timeout
        if not self._lock.acquire(timeout=self._timeout):
            raise self._busy()
        try:
            self._lock_file(until)
        except BaseException:
            self._lock.release()
            raise

    def leave(self) -> None:
        fcntl.flock(self._fd, fcntl.LOCK_UN)
        self._lock.release()

    def close(self) -> None:
        with self._lock:
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1

    def after_fork(self) -> None:
        """In the child: the parent's open file would share the parent's lock."""
        self._lock = threading.Lock()
        if self._fd >= 0:
            with contextlib.suppress(OSError):
                os.close(self._fd)
            self._fd = -1

    def _lock_file(self, until: float) -> None:
        if self._fd < 0:
            try:
                self._fd = open_file(self._path, self._path.removesuffix(LOCK), os.O_RDWR)
            except OSError as error:
                raise cannot_open(self._path, error) from error
        pause = _FIRST_PAUSE
        while True:
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if SYSTEM.monotonic() >= until:
                    raise self._busy() from None
                time.sleep(pause)
                pause = min(_LONGEST_PAUSE, pause * 1.5)

    def _busy(self) -> BrokerUnavailable:
        return BrokerUnavailable(f"other writers held {self._path} for {self._timeout:g} s")
