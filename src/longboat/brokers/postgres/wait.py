"""Waiting for the server or for a thread of this process, whichever speaks first."""

from __future__ import annotations

import contextlib
import os
import select
import threading

from longboat.brokers.postgres.store import Line

LOOK_ANYWAY = 1.0
"""Seconds between looks while nothing happens: heals a wake-up that was missed, and tells that the server is there."""
_LOOK_WITHOUT = 0.05
"""The same where the server cannot notify, behind pgbouncer."""


class Bell:
    """Rung from any thread. One thread waits."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)

    def ring(self) -> None:
        with self._lock, contextlib.suppress(BlockingIOError):
            if self._write >= 0:
                os.write(self._write, b"\0")

    def wait(self, line: Line, seconds: float) -> list[str]:
        """Until rung or notified, at most so long; what was notified. Errors as of psycopg."""
        if told := line.told():
            return told
        link = line.link()
        seconds = min(seconds, _LOOK_WITHOUT if line.is_deaf else LOOK_ANYWAY)
        poll = select.poll()
        poll.register(link.pgconn.socket, select.POLLIN)
        if self._read >= 0:
            poll.register(self._read, select.POLLIN)
        happened = poll.poll(max(0.0, seconds) * 1000)
        with contextlib.suppress(BlockingIOError, OSError):
            os.read(self._read, 4096)
        if any(fd == link.pgconn.socket for fd, _ in happened):
            line.drain()
        return line.told()

    def close(self) -> None:
        with self._lock:
            for fd in (self._read, self._write):
                if fd >= 0:
                    os.close(fd)
            self._read = self._write = -1
