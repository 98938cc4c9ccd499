"""Listening and connecting over TCP, as `multiprocessing.managers` is told to: registered there as "longboat"."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from multiprocessing import managers
from multiprocessing.connection import answer_challenge, deliver_challenge
from typing import Any, cast

from longboat.brokers.manager.frames import Connection
from longboat.core.clock import SYSTEM

SERIALIZER = "longboat"
PUBLISHED = "dispatcher"
"""The name that the server's object is published under."""
UNPROVEN = 32
"""Peers at a time that have not proved the key yet."""
_PATIENCE = 0.5
"""Seconds after which an unproven peer is closed while there are too many."""

Address = tuple[str, int]


class TcpListener:
    """A listening socket. While too many peers have not proved the key, others wait, and the slowest ones are closed."""

    def __init__(self, address: Address, backlog: int = 16) -> None:
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self._sock = socket.create_server(address, family=family, backlog=max(128, backlog))
        host, port = self._sock.getsockname()[:2]
        self.address: Address = (host, port)
        self.key = b""
        """Set by the server, before the first accept."""
        self._unproven: dict[int, tuple[float, Connection]] = {}
        self._changed = threading.Condition()
        self._numbers = iter(range(1 << 62))

    def accept(self) -> Connection:
        """The next connection, before its handshake. Raises OSError once closed."""
        sock, _ = self._sock.accept()
        number = next(self._numbers)
        with self._changed:
            while len(self._unproven) >= UNPROVEN:
                first, (since, connection) = next(iter(self._unproven.items()))
                left = since + _PATIENCE - SYSTEM.monotonic()
                if left > 0:
                    self._changed.wait(left)
                else:
                    connection.shut()
                    self._unproven.pop(first, None)
            connection = Connection(sock, self.key, serves=True, known=lambda: self._proven(number))
            self._unproven[number] = (SYSTEM.monotonic(), connection)
        return connection

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)  # an accept that waits ends
        self._sock.close()

    def _proven(self, number: int) -> None:
        with self._changed:
            if self._unproven.pop(number, None):
                self._changed.notify()


def dial(address: Address, authkey: bytes, *, until: float | None = None) -> Connection:
    """A connection that is ready for requests. Raises OSError, EOFError or AuthenticationError."""
    left = None if until is None else max(0.001, until - SYSTEM.monotonic())
    sock = socket.create_connection(address, timeout=left)
    try:
        connection = Connection(sock, bytes(authkey), serves=False)
        connection.until = until
        connection.greet()
        # The server of the standard library asks for these as well, now inside frames.
        answer_challenge(cast(Any, connection), bytes(authkey))
        deliver_challenge(cast(Any, connection), bytes(authkey))
    except BaseException:
        sock.close()
        raise
    return connection


_pairs: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = managers.listener_client  # type: ignore[attr-defined]  # typeshed leaves it out
_pairs[SERIALIZER] = (TcpListener, dial)
