"""Waiting for the server or for a thread of this process, whichever speaks first."""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time

from longboat.brokers.postgres.line import ListenConnection

LOOK_ANYWAY = 1.0
"""Seconds between looks while nothing happens: heals a wake-up that was missed, and tells that the server is there."""
_LOOK_SOON = 0.005
"""The same at first, see Watch."""
_LOOK_WITHOUT = 0.05
"""The same where the server cannot notify, behind pgbouncer."""


class Watch:
    """When to look again though nobody told anything.

    Who changes something notifies those who were seen to wait when the statement began. One that began before that, and is
    committed after the look that follows it, tells nobody. It is found by looks whose distance is the time gone by since:
    no later than it took itself.
    """

    def __init__(self) -> None:
        self._began = 0.0

    def begin(self) -> None:
        """From now on the server tells."""
        self._began = time.monotonic()

    def pause(self, looked: float, most: float = LOOK_ANYWAY) -> float:
        """Seconds from the look at that monotonic time until the next one."""
        return min(most, max(_LOOK_SOON, looked - self._began))


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

    def wait(self, line: ListenConnection, seconds: float) -> list[str]:
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
        return line.told() if any(fd == link.pgconn.socket for fd, _ in happened) else []

    def close(self) -> None:
        with self._lock:
            for fd in (self._read, self._write):
                if fd >= 0:
                    os.close(fd)
            self._read = self._write = -1
