"""Link: a connection of psycopg whose every wait has an end, and that can be waited on for notifications."""

from __future__ import annotations

import contextlib
import os
import select
import time
from typing import Any

import psycopg
from psycopg import pq

_CONNECT_AT_LEAST = 2
"""libpq knows no shorter limit for connecting."""


class TimedConnection(psycopg.Connection[Any]):
    """In autocommit. Not safe to use from several threads at once."""

    patience: float = 2.0
    """Seconds that a statement may take, the network included; then the connection is closed."""

    until: float | None = None
    """Monotonic time at which the call that uses this connection has to be over, however many statements it has."""
    _opened_by: int = -1

    def wait(self, gen: Any, *_: Any, **__: Any) -> Any:
        """Run one exchange with the server; what psycopg calls for each. Raises OperationalError when time is up."""
        end = time.monotonic() + self.patience if self.until is None else self.until
        poll = select.poll()
        fd = self.pgconn.socket
        try:
            state = next(gen)
            while True:
                poll.register(fd, (select.POLLIN if state & 1 else 0) | (select.POLLOUT if state & 2 else 0))
                left = end - time.monotonic()
                events = poll.poll(max(0.0, left) * 1000)
                if not events:
                    self.pgconn.finish()
                    raise psycopg.OperationalError("the server did not answer in time")
                happened = events[0][1]
                ready = (1 if happened & ~select.POLLOUT else 0) | (2 if happened & select.POLLOUT else 0)
                state = gen.send(ready)
        except StopIteration as stop:
            return stop.value

    def is_dead(self) -> bool:
        """Whether the server has said something unasked: an idle connection hears nothing but its end."""
        if self.closed or self.pgconn.transaction_status != pq.TransactionStatus.IDLE:
            return True
        poll = select.poll()
        poll.register(self.pgconn.socket, select.POLLIN)
        return bool(poll.poll(0))

    def drain(self) -> list[bytes]:
        """The payloads of notifications that have come. Raises OperationalError if the connection is broken."""
        self.pgconn.consume_input()
        told = []
        while (notify := self.pgconn.notifies()) is not None:
            told.append(notify.extra)
        return told

    def __del__(self, *_: Any) -> None:
        """A broker that nobody closed lets go of its connections, and a forked child's copy of it does not."""
        if self._opened_by == os.getpid():
            self.let_go()

    def let_go(self) -> None:
        with contextlib.suppress(Exception):  # it is of no use any more, whatever becomes of it
            self.pgconn.finish()


def open_link(conninfo: str, patience: float, *, prepare: bool) -> TimedConnection:
    """A new connection; errors as of psycopg."""
    link = TimedConnection.connect(
        conninfo,
        autocommit=True,
        prepare_threshold=3 if prepare else None,
        connect_timeout=max(_CONNECT_AT_LEAST, round(patience)),
        tcp_user_timeout=int(patience * 1000),
    )
    link.patience = patience
    link._opened_by = os.getpid()
    return link
