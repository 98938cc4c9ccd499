"""Server: connections, and calls of scripts on them, each with a time limit."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from redis import exceptions

from longboat.brokers.redis.address import Address
from longboat.brokers.redis.faults import is_elsewhere, translated
from longboat.brokers.redis.layout import FIELDS, check_layout
from longboat.brokers.redis.scripts import script
from longboat.contract.base_forks import leave_alone, remake_after_fork
from longboat.core.clock import Clock
from longboat.errors import BrokerError, BrokerFull, BrokerUnavailable, unanswered

_packed: Any
try:
    from hiredis import pack_command as _packed
except ImportError:  # the doctor advises to install it
    _packed = None

Value = bytes | str | int | float
Use = Callable[[Any], Any]
"""What is done with a connection."""
SHORTEST = 0.002
"""Seconds: the shortest wait in one call. A shorter one takes longer than that, and 0 would mean for ever."""
_SLICE = 1.0
_GONE = (
    exceptions.ConnectionError,
    exceptions.TimeoutError,  # of a node that stands still for good, while another has its slots
    exceptions.ClusterError,
)


class Server:
    """A server's connections as seen by this process. Safe to use from several threads; opened late, again after a fork."""

    def __init__(self, address: Address, where: str, prefix: str, clock: Clock | None, timeout: float) -> None:
        self._address = address
        self._where = where
        self._prefix = prefix
        self.slice = min(_SLICE, timeout / 2)
        """Seconds to wait in one call, at most, so that a server that is gone is noticed."""
        self._client = os.urandom(12).hex()
        self._clock = clock
        self._idle: list[Any] = []
        self._lock = threading.Lock()
        self._closed = False
        self._layout_checked = False
        remake_after_fork(self)

    def call(self, name: str, *values: Value, again: bool = True) -> Any:
        """Run a script; what it returns. `again`: it may run a second time, if an idle connection turns out to be dead."""
        return self._any(lambda connection: self.run(connection, name, values), again)

    def command(self, *words: Value) -> Any:
        """Send one command; its answer."""
        return self._any(lambda connection: ask(connection, words), again=True)

    def check_layout(self) -> None:
        """Raises StoreTooNew, or BrokerError for an older layout."""
        self._any(self._check_layout, again=True)

    def _check_layout(self, connection: Any) -> None:
        check_layout(ask(connection, ("HMGET", self.key("numbers"), *FIELDS)), self._where, self._prefix)
        self._layout_checked = True

    def key(self, name: str) -> str:
        return self._prefix + name

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
        except (exceptions.RedisError, OSError) as error:
            if isinstance(error, _GONE):
                self._address.look_again()
            told = translated(error, self._where, self._prefix)
            if isinstance(told, BrokerUnavailable):
                told.unknown = False  # nothing was sent
            raise told from error

    def attempt(self, connection: Any, use: Use, done: Callable[[Any, bool], None]) -> Any:
        """What `use` gives. `done` is told whether the connection may be used again. After an error that says that the
        server may be another one by now, none of the idle ones is, and the next connection looks for it."""
        good = True
        try:
            return use(connection)
        except BaseException as error:
            gone = isinstance(error, _GONE) or is_elsewhere(error)
            good = isinstance(error, exceptions.ResponseError) and not gone
            if gone:
                self._drop_idle()
                self._address.look_again()
            raise
        finally:
            done(connection, good)

    def close(self) -> None:
        with self._lock:
            self._closed = True
        self._drop_idle()
        self._address.look_again()

    def after_fork(self) -> None:
        """In the child: the connections are the parent's."""
        leave_alone(*self._idle)
        self._client = os.urandom(12).hex()
        self._idle = []
        self._lock = threading.Lock()

    def _any(self, use: Use, again: bool) -> Any:
        with self.translating():
            with self._lock:
                connection = self._idle.pop() if self._idle else None
            if connection is not None:
                try:
                    return self.attempt(connection, use, self._put_back)
                except exceptions.RedisError as error:
                    sent = isinstance(error, exceptions.ConnectionError)
                    if not is_elsewhere(error) and not (again and sent):
                        raise
                    return self._once_more(use, sent)
            return self.attempt(self.connect(), use, self._put_back)

    def _once_more(self, use: Use, sent: bool) -> Any:
        """On a new connection. `sent`: the server may have done it already."""
        try:
            with self.translating():
                return self.attempt(self.connect(), use, self._put_back)
        except BrokerUnavailable as error:
            error.unknown = error.unknown or sent
            raise
        except BrokerFull as error:
            if not sent:
                raise
            raise unanswered(f"no answer came, and a second try was refused: {error}") from error

    def _put_back(self, connection: Any, good: bool) -> None:
        with self._lock:
            if good and not self._closed:
                self._idle.append(connection)
                return
        disconnect(connection)

    def _drop_idle(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            disconnect(connection)

    def run(self, connection: Any, name: str, values: Sequence[Value]) -> Any:
        """Run a script on this connection, if the layout of the store is known here."""
        if not self._layout_checked:
            self._check_layout(connection)
        wanted = script(name)
        now = "" if self._clock is None else repr(self._clock.now())
        try:
            return ask(connection, ("EVALSHA", wanted.sha, 1, self._prefix, now, *values))
        except exceptions.NoScriptError:  # restarted, failed over or flushed
            return ask(connection, ("EVAL", wanted.source, 1, self._prefix, now, *values))

    @contextlib.contextmanager
    def translating(self) -> Iterator[None]:
        """Errors of redis-py become those of `longboat.errors`."""
        try:
            yield
        except BrokerError:
            raise
        except (exceptions.RedisError, OSError) as error:
            if self._closed:
                raise BrokerUnavailable(f"{self._where}: this broker was closed") from error
            raise translated(error, self._where, self._prefix) from error


class WaitingConnection:
    """A connection for one thread, which waits on it. Nothing is sent a second time that the server may have done."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._connection: Any = None
        self._pid = -1

    def call(self, name: str, *values: Value) -> Any:
        return self._use(lambda connection: self._server.run(connection, name, values))

    def command(self, *words: Value) -> Any:
        return self._use(lambda connection: ask(connection, words))

    def _use(self, use: Use) -> Any:
        with self._server.translating():
            try:
                return self._attempt(use)
            except exceptions.ResponseError as error:
                if not is_elsewhere(error):
                    raise
            return self._attempt(use)

    def _attempt(self, use: Use) -> Any:
        if self._connection is None or self._pid != os.getpid():
            self._connection, self._pid = self._server.connect(), os.getpid()
        return self._server.attempt(self._connection, use, lambda _, good: None if good else self.close())

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None and self._pid == os.getpid():
            disconnect(connection)


def ask(connection: Any, words: tuple[Value, ...]) -> Any:
    if _packed is None:
        connection.send_command(*words, check_health=False)
    else:  # as redis-py does, but without a look at each value, of which a batch has thousands
        connection.send_packed_command((_packed(words),), check_health=False)
    return connection.read_response()


def disconnect(connection: Any) -> None:
    with contextlib.suppress(Exception):  # it is of no use any more, whatever becomes of it
        connection.disconnect()
