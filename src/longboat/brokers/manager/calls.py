"""Calls: a client's connections to a server, and calls on them, each with a time limit."""

from __future__ import annotations

import os
import select
import threading
import weakref
from multiprocessing import AuthenticationError
from typing import Any, TypeVar

import msgspec

from longboat.brokers.manager.door import Address, knock
from longboat.brokers.manager.frames import Connection
from longboat.brokers.manager.server import DESK
from longboat.brokers.manager.wire import Verb, encode
from longboat.core.clock import SYSTEM
from longboat.errors import BrokerError, BrokerUnavailable, LongboatError

A = TypeVar("A")

_HEADROOM = 0.95
"""The part of the time limit that the server may use up, so that an error comes within the limit."""


class Calls:
    """A server's connections as seen by this process. Safe to use from several threads; opened late, again after a fork."""

    def __init__(self, address: Address, authkey: bytes, timeout: float, where: str) -> None:
        self._address = address
        self._authkey = authkey
        self.timeout = timeout
        self.where = where
        self._idle: list[Connection] = []
        self.lines: weakref.WeakSet[CallConnection] = weakref.WeakSet()
        """Closed with the broker."""
        self._lock = threading.Lock()
        self._closed = False
        _all.add(self)

    def call(self, verb: Verb[A], *values: Any) -> A:
        """What the server answers. Raises BrokerUnavailable after the time limit, and the store's own errors."""
        data = encode(values)
        connection = None
        try:
            until = SYSTEM.monotonic() + self.timeout * _HEADROOM
            connection = self._an_idle_one() or self.connect(until)
            answer = self.ask(connection, verb, data, until)
        except LongboatError:  # told by the server, or nothing was sent: the connection is as good as before
            self._put_back(connection)
            raise
        except Exception as error:
            if connection is not None:
                connection.close()
            self._drop_idle()  # the server was restarted, say: none of them is better
            raise self.translated(error) from error
        except BaseException:
            if connection is not None:
                connection.close()
            raise
        self._put_back(connection)
        return answer

    def connect(self, until: float) -> Connection:
        """A new connection, which serves the published object."""
        if self._closed:
            raise BrokerUnavailable(f"{self.where}: this broker was closed")
        connection = knock(self._address, self._authkey, until=until)
        try:
            connection.send((None, "accept_connection", (threading.current_thread().name,), {}))
            _told(connection.recv())
        except BaseException:
            connection.close()
            raise
        return connection

    def ask(self, connection: Connection, verb: Verb[A], data: bytes, until: float) -> A:
        connection.until = until
        connection.send((DESK, "call", (verb.name, data), {}))
        return verb.answer(_told(connection.recv()))

    def translated(self, error: Exception) -> BrokerError:
        """The error to raise for one of a connection."""
        if self._closed:
            return BrokerUnavailable(f"{self.where}: this broker was closed")
        if isinstance(error, AuthenticationError):
            return BrokerUnavailable(f"{self.where} cannot be worked with: {error}")
        if isinstance(error, TimeoutError):
            return BrokerUnavailable(f"{self.where} did not answer within {self.timeout:g} s")
        if isinstance(error, EOFError | OSError):
            return BrokerUnavailable(f"{self.where} cannot be reached: {error}")
        if isinstance(error, msgspec.MsgspecError):
            return BrokerError(f"{self.where} answers what is not understood here (is it of another version?): {error}")
        raise error

    def close(self) -> None:
        self._closed = True
        self._drop_idle()
        for line in list(self.lines):
            line.close()

    def after_fork(self) -> None:
        """In the child: the connections are the parent's, who still holds them."""
        self._lock = threading.Lock()
        self._drop_idle()

    def _an_idle_one(self) -> Connection | None:
        while True:
            with self._lock:
                if not self._idle:
                    return None
                connection = self._idle.pop()
            poll = select.poll()
            poll.register(connection.fileno(), select.POLLIN)
            if not poll.poll(0):
                return connection
            connection.close()  # the server has closed it: nothing else comes unasked

    def _put_back(self, connection: Connection | None) -> None:
        if connection is None:
            return
        with self._lock:
            if not self._closed:
                self._idle.append(connection)
                return
        connection.close()

    def _drop_idle(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()


class CallConnection:
    """A connection of its own, for who waits on it. One thread at a time uses it."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._connection: Connection | None = None
        self._pid = -1
        calls.lines.add(self)

    def call(self, verb: Verb[A], *values: Any) -> A:
        calls, data = self._calls, encode(values)
        until = SYSTEM.monotonic() + calls.timeout * _HEADROOM
        try:
            if self._connection is None or self._pid != os.getpid():
                self.close()
                self._connection, self._pid = calls.connect(until), os.getpid()
            return calls.ask(self._connection, verb, data, until)
        except LongboatError:
            raise
        except Exception as error:
            self.close()
            raise calls.translated(error) from error
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def __del__(self) -> None:
        self.close()  # a consumer that was lost may be dropped without having been closed


def _told(answer: Any) -> Any:
    """What the standard library's server answers is [kind, value]."""
    kind, value = answer
    if kind == "#RETURN":
        return value
    if kind == "#ERROR" and isinstance(value, Exception):
        raise value
    last = str(value).strip().splitlines()[-1:] or ["nothing"]
    raise BrokerError(f"the server failed: {last[0]}")


_all: weakref.WeakSet[Calls] = weakref.WeakSet()


def _after_fork() -> None:
    for calls in list(_all):
        calls.after_fork()


os.register_at_fork(after_in_child=_after_fork)
