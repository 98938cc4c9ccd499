"""Calls: a client's connections to a server, and calls on them, each with a time limit."""

from __future__ import annotations

import os
import select
import threading
import weakref
from collections.abc import Callable
from multiprocessing import AuthenticationError
from typing import Any, TypeVar

import msgspec

from longboat.brokers.manager.frames import Connection
from longboat.brokers.manager.tcp import PUBLISHED, Address, dial
from longboat.brokers.manager.wire import Verb, encode
from longboat.contract.base_forks import remake_after_fork
from longboat.contract.base_poll import new_poll
from longboat.core.clock import SYSTEM
from longboat.errors import BrokerError, BrokerMisconfigured, BrokerUnavailable, LongboatError

A = TypeVar("A")

_HEADROOM = 0.95
"""The part of the time limit that the server may use up, so that an error comes within the limit."""


class Calls:
    """A server's connections as seen by this process. Safe to use from several threads; opened late, again after a fork."""

    def __init__(self, address: Address, authkey: bytes, timeout: float, where: str) -> None:
        self._address = address
        self._authkey = authkey
        self._timeout = timeout
        self._where = where
        self.slice = min(1.0, timeout / 2)
        """Seconds of waiting in one call, at most."""
        self._idle: list[Connection] = []
        self.others: weakref.WeakSet[CallConnection] = weakref.WeakSet()
        """Closed with the broker."""
        self._lock = threading.Lock()
        self._closed = False
        remake_after_fork(self)

    def call(self, verb: Verb[A], *values: Any) -> A:
        """What the server answers. Raises BrokerUnavailable after the time limit, and the store's own errors."""
        return self.attempt(self._idle_or_new, self._put_back, verb, values)

    def attempt(
        self,
        take: Callable[[float], Connection],
        done: Callable[[Connection | None, bool], None],
        verb: Verb[A],
        values: tuple[Any, ...],
    ) -> A:
        """As `call`, on a connection that `take` gives until a time; `done` is told whether it may be used again."""
        data = encode(values)
        until = SYSTEM.monotonic() + self._timeout * _HEADROOM
        connection, good, sent = None, False, False
        try:
            connection = take(until)
            sent = True
            answer = self.ask(connection, verb, data, until)
            good = True
        except LongboatError:  # told by the server, or nothing was sent: the connection is as good as before
            good = True
            raise
        except Exception as error:
            told = self._translated(error)
            if isinstance(told, BrokerUnavailable):
                told.unknown = sent
            raise told from error
        finally:
            done(connection, good)
        return answer

    def connect(self, until: float) -> Connection:
        """A new connection, which serves the published object."""
        if self._closed:
            raise BrokerUnavailable(f"{self._where}: this broker was closed")
        connection = dial(self._address, self._authkey, until=until)
        try:
            connection.send((None, "accept_connection", (threading.current_thread().name,), {}))
            _told(connection.recv())
        except BaseException:
            connection.close()
            raise
        return connection

    def ask(self, connection: Connection, verb: Verb[A], data: bytes, until: float) -> A:
        connection.until = until
        connection.send((PUBLISHED, "call", (verb.name, data), {}))
        return verb.answer(_told(connection.recv()))

    def _translated(self, error: Exception) -> BrokerError:
        """The error to raise for one of a connection."""
        if self._closed:
            return BrokerUnavailable(f"{self._where}: this broker was closed")
        if isinstance(error, AuthenticationError):
            return BrokerMisconfigured(f"{self._where} cannot be used: {error}")
        if isinstance(error, TimeoutError):
            return BrokerUnavailable(f"{self._where} did not answer within {self._timeout:g} s")
        if isinstance(error, EOFError | OSError):
            return BrokerUnavailable(f"{self._where} cannot be reached: {error}")
        if isinstance(error, msgspec.MsgspecError):
            return BrokerError(f"the answer of {self._where} is not understood (is it another version?): {error}")
        raise error

    def close(self) -> None:
        self._closed = True
        self._drop_idle()
        for other in list(self.others):
            other.close()

    def after_fork(self) -> None:
        """In the child: the connections are the parent's, who still holds them."""
        self._lock = threading.Lock()
        self._drop_idle()

    def _idle_or_new(self, until: float) -> Connection:
        while True:
            with self._lock:
                connection = self._idle.pop() if self._idle else None
            if connection is None:
                return self.connect(until)
            poll = new_poll()
            poll.register(connection.fileno(), select.POLLIN)
            if not poll.poll(0):
                return connection
            connection.close()  # the server has closed it: nothing else comes unasked

    def _put_back(self, connection: Connection | None, good: bool) -> None:
        if good and connection is not None:
            with self._lock:
                if not self._closed:
                    self._idle.append(connection)
                    return
        if connection is not None:
            connection.close()
        if not good:
            self._drop_idle()  # the server was restarted, say: none of them is better

    def _drop_idle(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()


class CallConnection:
    """A connection for one thread, which waits on it."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._connection: Connection | None = None
        self._pid = -1
        calls.others.add(self)

    def call(self, verb: Verb[A], *values: Any) -> A:
        return self._calls.attempt(self._take, lambda _, good: None if good else self.close(), verb, values)

    def _take(self, until: float) -> Connection:
        if self._connection is None or self._pid != os.getpid():
            self.close()
            self._connection, self._pid = self._calls.connect(until), os.getpid()
        return self._connection

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
