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
UNPROVEN = 128
"""Peers at a time that have not proved the key yet."""
FROM_ONE = 16
"""Of one address. A client needs a few milliseconds, so one that proves itself is not closed by many that do not."""

Address = tuple[str, int]


class TcpListener:
    """A listening socket. It accepts at once: when too many peers have not proved the key, the oldest of them is closed.

    That is one of the same address, if that has too many, else one of the address that has most.
    """

    def __init__(self, address: Address, backlog: int = 16) -> None:
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self._sock = socket.create_server(address, family=family, backlog=max(128, backlog))
        host, port = self._sock.getsockname()[:2]
        self.address: Address = (host, port)
        self.key = b""
        """Set by the server, before the first accept."""
        self._unproven: dict[str, dict[int, Connection]] = {}
        """By address, the oldest first."""
        self._lock = threading.Lock()
        self._numbers = iter(range(1 << 62))

    def accept(self) -> Connection:
        """The next connection, before its handshake. Raises OSError once closed."""
        sock, (host, *_) = self._sock.accept()
        number = next(self._numbers)
        connection = Connection(sock, self.key, serves=True, known=lambda: self._proven(host, number))
        with self._lock:
            self._make_room(host)
            self._unproven.setdefault(host, {})[number] = connection
        return connection

    def _make_room(self, host: str) -> None:
        if len(self._unproven.get(host, ())) < FROM_ONE:
            if self.unproven < UNPROVEN:
                return
            host = max(self._unproven, key=lambda each: len(self._unproven[each]))
        oldest = next(iter(self._unproven[host]))
        self._forget(host, oldest).shut()

    @property
    def unproven(self) -> int:
        """How many peers have not proved the key yet."""
        return sum(map(len, self._unproven.values()))

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)  # an accept that waits ends
        self._sock.close()

    def _proven(self, host: str, number: int) -> None:
        with self._lock:
            if number in self._unproven.get(host, ()):
                self._forget(host, number)

    def _forget(self, host: str, number: int) -> Connection:
        connection = self._unproven[host].pop(number)
        if not self._unproven[host]:
            del self._unproven[host]
        return connection


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
