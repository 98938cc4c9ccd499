"""Server: connections, and calls of scripts on them, each with a time limit."""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from collections.abc import Iterator, Sequence
from typing import Any

from redis import exceptions

from longboat.brokers.redis.address import Address
from longboat.brokers.redis.faults import translated
from longboat.brokers.redis.scripts import script
from longboat.core.clock import Clock
from longboat.errors import BrokerUnavailable

Value = bytes | str | int | float
_SLICE = 1.0
_MOVED = (
    exceptions.MovedError,
    exceptions.ReadOnlyError,
    exceptions.ConnectionError,
    exceptions.TimeoutError,  # of a node that stands still for good, while another has its slots
    exceptions.ClusterError,
)


class Server:
    """A server's connections as seen by this process. Safe to use from several threads; opened late, again after a fork."""

    def __init__(self, address: Address, where: str, prefix: str, clock: Clock | None, timeout: float) -> None:
        self._address = address
        self.where = where
        self.prefix = prefix
        self.slice = min(_SLICE, timeout / 2)
        """Seconds to wait in one call, at most, so that a server that is gone is noticed."""
        self._client = os.urandom(12).hex()
        self._clock = clock
        self._idle: list[Any] = []
        self._lock = threading.Lock()
        self._closed = False
        _servers.add(self)

    def call(self, name: str, *values: Value, again: bool = True) -> Any:
        """Run a script; what it returns. `again`: it may run a second time, if an idle connection turns out to be dead."""
        return self._any(lambda connection: self._run(connection, name, values), again)

    def command(self, *words: Value) -> Any:
        """Send one command; its answer."""
        return self._any(lambda connection: _ask(connection, words), again=True)

    def call_on(self, line: WaitingConnection, name: str, *values: Value) -> Any:
        """As `call`, on a connection of the caller's own, and never a second time."""
        with self._told_well():
            return line.use(self, lambda connection: self._run(connection, name, values))

    def command_on(self, line: WaitingConnection, *words: Value) -> Any:
        with self._told_well():
            return line.use(self, lambda connection: _ask(connection, words))

    def key(self, name: str) -> str:
        return self.prefix + name

    @property
    def client(self) -> str:
        """Names this thread of this process: puts of two that were named alike could overtake each other."""
        return f"{self._client}{threading.get_ident():x}"

    def connect(self) -> Any:
        """A new connection."""
        if self._closed:
            raise exceptions.ConnectionError("this broker was closed")
        try:
            return self._address.connection()
        except _MOVED:
            self._address.look_again()
            raise

    def moved(self, error: Exception) -> None:
        """Look anew where the server is, if the error says that this may not be the right one."""
        if isinstance(error, _MOVED):
            self._address.look_again()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            _disconnect(connection)
        self._address.look_again()

    def after_fork(self) -> None:
        """In the child: the connections are the parent's."""
        _left_alone.extend(self._idle)
        self._client = os.urandom(12).hex()
        self._idle = []
        self._lock = threading.Lock()

    def _any(self, use: Any, again: bool) -> Any:
        with self._told_well():
            with self._lock:
                connection = self._idle.pop() if self._idle else None
            if connection is not None:
                try:
                    return self._use(connection, use)
                except exceptions.ConnectionError:
                    self._drop_idle()  # the server was restarted, say: none of them is better
                    if not again:
                        raise
            return self._use(self.connect(), use)

    def _use(self, connection: Any, use: Any) -> Any:
        try:
            answer = use(connection)
        except BaseException as error:
            if not isinstance(error, exceptions.ResponseError) or isinstance(error, _MOVED):
                _disconnect(connection)
            else:
                self._put_back(connection)
            if isinstance(error, Exception):
                self.moved(error)
            raise
        self._put_back(connection)
        return answer

    def _put_back(self, connection: Any) -> None:
        with self._lock:
            if not self._closed:
                self._idle.append(connection)
                return
        _disconnect(connection)

    def _drop_idle(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            _disconnect(connection)

    def _run(self, connection: Any, name: str, values: Sequence[Value]) -> Any:
        wanted = script(name)
        now = "" if self._clock is None else repr(self._clock.now())
        try:
            return _ask(connection, ("EVALSHA", wanted.sha, 1, self.prefix, now, *values))
        except exceptions.NoScriptError:  # restarted, failed over or flushed
            return _ask(connection, ("EVAL", wanted.source, 1, self.prefix, now, *values))

    @contextlib.contextmanager
    def _told_well(self) -> Iterator[None]:
        try:
            yield
        except (exceptions.RedisError, OSError) as error:
            if self._closed:
                raise BrokerUnavailable(f"{self.where}: this broker was closed") from error
            raise translated(error, self.where, self.prefix) from error


class WaitingConnection:
    """A connection of its own, for who waits on it. One thread at a time uses it."""

    def __init__(self) -> None:
        self._connection: Any = None
        self._pid = -1

    def use(self, server: Server, use: Any) -> Any:
        if self._connection is None or self._pid != os.getpid():
            self._connection, self._pid = server.connect(), os.getpid()
        try:
            return use(self._connection)
        except BaseException as error:
            if not isinstance(error, exceptions.ResponseError) or isinstance(error, _MOVED):
                self.close()
            if isinstance(error, Exception):
                server.moved(error)
            raise

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None and self._pid == os.getpid():
            _disconnect(connection)


def _ask(connection: Any, words: Sequence[Value]) -> Any:
    connection.send_command(*words, check_health=False)
    return connection.read_response()


def _disconnect(connection: Any) -> None:
    with contextlib.suppress(Exception):  # it is of no use any more, whatever becomes of it
        connection.disconnect()


_servers: weakref.WeakSet[Server] = weakref.WeakSet()
_left_alone: list[Any] = []


def _after_fork() -> None:
    for server in list(_servers):
        server.after_fork()


os.register_at_fork(after_in_child=_after_fork)
