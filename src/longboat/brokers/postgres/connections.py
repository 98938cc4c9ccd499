"""Connections to one store, on which no wait lasts for ever. They are kept for the next call; the first makes the tables."""

from __future__ import annotations

import contextlib
import os
import re
import select
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import psycopg
from psycopg import conninfo, pq

from longboat.brokers.postgres import migration
from longboat.contract.base_forks import leave_alone, remake_after_fork
from longboat.contract.base_poll import new_poll
from longboat.errors import BrokerError, BrokerFull, BrokerMisconfigured, BrokerUnavailable, unanswered

T = TypeVar("T")

HEADROOM = 0.95
"""The share of the time limit that a statement may use, so that its error is raised within the limit."""

_CONNECT_AT_LEAST = 2
"""libpq knows no shorter limit for connecting, in seconds."""
_IDLE = 8
"""Connections kept for the next call, at most."""
_SETTINGS = (
    "-c jit=off -c enable_seqscan=off -c enable_bitmapscan=off -c enable_mergejoin=off "
    "-c plan_cache_mode=force_generic_plan -c default_transaction_isolation=read\\ committed"
)
"""Plans must not follow the statistics, which are always stale here: each way of finding a job has its index. Nor must they
follow the values: to plan a statement anew takes longer than most run."""

AGAIN = ("40001", "40P01")
"""Serialization failure and deadlock: nothing was done, and another try may well succeed."""
NO_TABLES = ("3F000", "42P01")
_ELSEWHERE = ("25006", "57P")
"""Read-only, shutting down: the server that writes may be another one by now. Only a new connection reaches it."""

_FULL = ("53100", "53200")
_LATER = ("08", "53", "55", "57", "40", "25006")
"""Classes: connection, resources, object in use, operator intervention, rolled back; and a read-only server."""
_TOO_MUCH = "54"
"""Class: a limit of the server, such as the size of what an index holds. Trying again is no use."""
_FORBIDDEN = ("28", "3D000", "42501")
_REFUSED = re.compile(
    r"FATAL: .*(authentication failed|does not exist|no password supplied|no pg_hba\.conf entry|permission denied"
    r"|no such (user|database))"
)
"""Of a connection that was refused: libpq gives its errors no code."""


class NotConnected(psycopg.OperationalError):
    """Nothing was sent."""


class TimedConnection(psycopg.Connection[Any]):
    """In autocommit mode. Not safe to use from several threads at once."""

    patience: float = 2.0
    """Seconds that a statement may take, the network included. After that the connection is closed."""

    until: float | None = None
    """Monotonic time by which the current call must be over, however many statements it runs."""
    opened_by: int = -1
    era: int = -1
    """That of its pool when it was opened."""

    def query(self, text: bytes, values: Mapping[str, Any]) -> Any:
        """The cursor, its rows yet to be fetched."""
        return self.cursor(binary=True).execute(text, values)

    def wait(self, gen: Any, *_: Any, **__: Any) -> Any:
        """Run one exchange with the server; psycopg calls this for each. Raises OperationalError when time is up."""
        end = time.monotonic() + self.patience if self.until is None else self.until
        poll = new_poll()
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
        """Whether the server has sent something unasked: the only thing an idle connection can hear is its end."""
        if self.closed or self.pgconn.transaction_status != pq.TransactionStatus.IDLE:
            return True
        poll = new_poll()
        poll.register(self.pgconn.socket, select.POLLIN)
        return bool(poll.poll(0))

    def is_read_only(self) -> bool:
        """Whether the server has said that it writes nothing at present. It says so from version 14 on."""
        return b"on" in map(self.pgconn.parameter_status, (b"in_hot_standby", b"default_transaction_read_only"))

    def drain(self) -> list[str]:
        """The payloads of notifications that have arrived. Raises OperationalError if the connection is broken."""
        self.pgconn.consume_input()
        payloads = []
        while (notify := self.pgconn.notifies()) is not None:
            payloads.append(notify.extra.decode())
        return payloads

    def __del__(self, *_: Any) -> None:
        """The connections of a broker that nobody closed are closed here; a forked child leaves its parent's alone."""
        if self.opened_by == os.getpid():
            self.discard()

    def discard(self) -> None:
        with contextlib.suppress(Exception):  # nobody uses it any more, whatever happens to it
            self.pgconn.finish()


class Pool:
    """Safe to use from several threads. Opens late, and again after a fork. Raises psycopg's errors but in `translating`."""

    def __init__(self, url: str, where: str, schema: str, timeout: float, pgbouncer: bool) -> None:
        self.where = where
        self.pgbouncer = pgbouncer
        self.timeout = timeout
        self.is_checked = False
        """This process knows that the tables have the right layout."""
        self.era = 0
        """No connection of an earlier one is used again: another server may have taken the place of theirs."""
        self._url = url
        self._schema = schema
        self._idle: list[TimedConnection] = []
        self._lock = threading.Lock()
        self._closed = False
        remake_after_fork(self)

    def open(self) -> TimedConnection:
        """A new connection, whatever the store's layout."""
        if self._closed:
            raise BrokerUnavailable(f"{self.where}: this broker was closed")
        era = self.era
        options: dict[str, Any] = dict(conninfo.conninfo_to_dict(self._url))
        if not self.pgbouncer:
            limit = f"-c statement_timeout={int(self.timeout * 1000)}"
            options["options"] = f"{options.get('options') or ''} {_SETTINGS} {limit}".strip()
        options.setdefault("application_name", "longboat")
        try:
            conn = TimedConnection.connect(
                conninfo.make_conninfo(**options),
                autocommit=True,
                prepare_threshold=None if self.pgbouncer else 3,
                connect_timeout=max(_CONNECT_AT_LEAST, round(self.timeout * HEADROOM)),
                tcp_user_timeout=int(self.timeout * HEADROOM * 1000),
            )
        except psycopg.OperationalError as error:
            raise NotConnected(str(error)) from error
        conn.patience, conn.opened_by, conn.era = self.timeout * HEADROOM, os.getpid(), era
        return conn

    def connect(self) -> TimedConnection:
        """A new connection to a store with the right layout, which is made if there is none."""
        conn = self.open()
        try:
            if not self.is_checked:
                migration.migrate(conn, self._schema)
                self.is_checked = True
        except BaseException:
            conn.discard()
            raise
        return conn

    def bare(self, do: Callable[[TimedConnection], T]) -> T:
        """With a new connection, whatever the store's layout."""
        with self.translating():
            conn = self.open()
            try:
                return do(conn)
            finally:
                conn.discard()

    def take(self) -> TimedConnection:
        while True:
            with self._lock:
                conn = self._idle.pop() if self._idle and not self._closed else None
            if conn is None:
                return self.connect()
            if conn.era == self.era and not conn.is_dead():
                return conn
            conn.discard()

    def put_back(self, conn: TimedConnection) -> None:
        if not conn.is_dead():
            if conn.is_read_only():
                self.era += 1
            with self._lock:
                if conn.era == self.era and not self._closed and len(self._idle) < _IDLE:
                    self._idle.append(conn)
                    return
        conn.discard()

    @contextlib.contextmanager
    def translating(self) -> Iterator[None]:
        """Errors of psycopg become Longboat's."""
        try:
            yield
        except psycopg.Error as error:
            if self._closed:
                raise BrokerUnavailable(f"{self.where}: this broker was closed") from error
            if error.sqlstate in NO_TABLES:
                self.is_checked = False
            if (error.sqlstate or "").startswith(_ELSEWHERE):
                self.era += 1
            raise translated(error, self.where) from error

    def close(self) -> None:
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for conn in idle:
            conn.discard()

    def after_fork(self) -> None:
        """In the child: the connections belong to the parent."""
        leave_alone(*self._idle)
        self._idle = []
        self._lock = threading.Lock()


def translated(error: psycopg.Error, where: str) -> BrokerError:
    """The error to raise instead."""
    code = error.sqlstate or ""
    text = str(error).strip()
    if "startup parameter" in text:  # pgbouncer refuses those that it cannot pass on
        return BrokerMisconfigured(f"{where} seems to be behind pgbouncer: add ?pgbouncer=1 to the URL. It says: {text}")
    if code in _FULL:
        return BrokerFull(f"{where} has no room left; nothing was stored. Make room, then try again. It says: {text}")
    if code.startswith(_FORBIDDEN) or (not code and _REFUSED.search(text)):
        return BrokerMisconfigured(f"{where} refuses: {text}")
    if code in NO_TABLES:
        return BrokerUnavailable(f"{where}: its tables are missing (`longboat migrate` makes them): {text}")
    if code == "57014":
        return BrokerUnavailable(f"{where} did not answer in time")  # it has rolled back
    if code.startswith(_LATER):
        return BrokerUnavailable(f"{where} cannot do this now: {text}")
    if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError) and not code.startswith(_TOO_MUCH):
        return (BrokerUnavailable if isinstance(error, NotConnected) else unanswered)(f"{where} cannot be reached: {text}")
    return BrokerError(f"{where}: {text}")
