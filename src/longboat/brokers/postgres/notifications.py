"""Waiting for the server's notifications, or for a thread of this process, whichever comes first."""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
from typing import Any

from longboat.brokers.postgres.connections import TimedConnection
from longboat.brokers.postgres.store import Store
from longboat.contract.base_forks import leave_alone
from longboat.contract.base_poll import new_poll

LOOK_ANYWAY = 1.0
"""Seconds between looks while nothing happens: heals a wake-up that was missed, and tells whether the server is there."""
_LOOK_SOON = 0.005
"""The same at first; see `pause`."""
_LOOK_WITHOUT = 0.05
"""The same where the server cannot notify, behind pgbouncer."""


class NotificationWaiter:
    """A connection of its own for one thread at a time, and a pipe by which other threads can wake it.

    Opened late, and again when it broke or after a fork. Raises psycopg's errors.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._conn: TimedConnection | None = None
        self._pid = -1
        self._payloads: list[str] = []
        self._marked_at = 0.0
        self.is_deaf = store.pgbouncer
        """It never gets a notification."""
        self.fresh = False
        """It was opened since somebody set this to False: notifications may have been missed."""
        self._lock = threading.Lock()
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)

    def connection(self) -> TimedConnection:
        """The connection, which gets notifications."""
        pool, conn = self._store.pool, self._conn
        if conn is not None and (self._pid != os.getpid() or conn.closed or conn.era != pool.era):
            self.drop()
        if self._conn is None:
            conn = pool.connect()
            try:
                conn.add_notify_handler(lambda notify: self._payloads.append(notify.payload))
                if not self.is_deaf:
                    conn.execute(f"LISTEN {self._store.channel}".encode())
            except BaseException:
                conn.discard()
                raise
            self._conn, self._pid, self.fresh = conn, os.getpid(), True
        return self._conn

    def run(self, sql: str, **values: Any) -> Any:
        return self._store.run(self.connection(), sql, values)

    def marked(self) -> None:
        """From now on the server knows that this thread waits."""
        self._marked_at = time.monotonic()

    def pause(self, looked: float, most: float = LOOK_ANYWAY) -> float:
        """Seconds from the look at that monotonic time until the next one, though nothing was notified.

        A transaction notifies those who were marked as waiting when its statement began. One that began before the mark,
        and commits after the look that follows it, notifies nobody. It is found by looks at doubling intervals: no later
        after its commit than it took itself.
        """
        return min(most, max(_LOOK_SOON, looked - self._marked_at))

    def wait(self, seconds: float) -> list[str]:
        """Wait until notified or rung, at most so long. Returns the payloads."""
        if payloads := self._notified():
            return payloads
        fd = self.connection().pgconn.socket
        seconds = min(seconds, _LOOK_WITHOUT if self.is_deaf else LOOK_ANYWAY)
        poll = new_poll()
        poll.register(fd, select.POLLIN)
        if self._read >= 0:
            poll.register(self._read, select.POLLIN)
        happened = {each for each, _ in poll.poll(max(0.0, seconds) * 1000)}
        if self._read in happened:
            with contextlib.suppress(BlockingIOError, OSError):
                os.read(self._read, 4096)
        return self._notified() if fd in happened else []

    def heard(self) -> list[str]:
        """The payloads that came with the answers of statements since the last call."""
        payloads, self._payloads = self._payloads, []
        return payloads

    def _notified(self) -> list[str]:
        """The payloads that have come since the last call, those in the driver's buffer too."""
        self._payloads += self.connection().drain()
        return self.heard()

    def ring(self) -> None:
        """End the `wait` that waits, or the next one. May be called from any thread."""
        with self._lock, contextlib.suppress(BlockingIOError):
            if self._write >= 0:
                os.write(self._write, b"\0")

    def drop(self) -> None:
        """Close the connection."""
        conn, self._conn = self._conn, None
        if conn is not None and self._pid == os.getpid():
            conn.discard()
        elif conn is not None:
            leave_alone(conn)

    def close(self) -> None:
        self.drop()
        with self._lock:
            for fd in (self._read, self._write):
                if fd >= 0:
                    os.close(fd)
            self._read = self._write = -1
