"""Connections of this process to one store, kept for the next call; the store is made or brought up to date by the first."""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import psycopg
from psycopg import conninfo

from longboat.brokers.postgres import migration
from longboat.brokers.postgres.faults import translated
from longboat.brokers.postgres.link import TimedConnection, open_link
from longboat.errors import BrokerUnavailable

HEADROOM = 0.95
"""The part of the time limit that a statement may use up, so that an error comes within the limit."""

_IDLE = 8
"""Connections kept for the next call, at most."""
_SETTINGS = (
    "-c jit=off -c enable_seqscan=off -c enable_bitmapscan=off -c enable_mergejoin=off "
    "-c default_transaction_isolation=read\\ committed"
)
"""Plans must not follow the statistics, which are always stale here: every way of a job has its index."""


class Pool:
    """Safe to use from several threads; opened late, again after a fork. Errors as of psycopg, except within `told_well`."""

    def __init__(self, url: str, where: str, schema: str, timeout: float, pgbouncer: bool) -> None:
        self.where = where
        self.pgbouncer = pgbouncer
        self.timeout = timeout
        self.is_checked = False
        """This process knows that the store is up to date."""
        self._url = url
        self._schema = schema
        self._idle: list[TimedConnection] = []
        self._lock = threading.Lock()
        self._closed = False
        _pools.add(self)

    def open(self) -> TimedConnection:
        """A new connection, whatever the store is like."""
        if self._closed:
            raise BrokerUnavailable(f"{self.where}: this broker was closed")
        options: dict[str, Any] = dict(conninfo.conninfo_to_dict(self._url))
        if not self.pgbouncer:
            limit = f"-c statement_timeout={int(self.timeout * 1000)}"
            options["options"] = f"{options.get('options') or ''} {_SETTINGS} {limit}".strip()
        options.setdefault("application_name", "longboat")
        return open_link(conninfo.make_conninfo(**options), self.timeout * HEADROOM, prepare=not self.pgbouncer)

    def connect(self) -> TimedConnection:
        """A new connection, to a store that is up to date."""
        link = self.open()
        try:
            if not self.is_checked:
                migration.migrate(link, self._schema)
                self.is_checked = True
        except BaseException:
            link.let_go()
            raise
        return link

    def take(self) -> TimedConnection:
        while True:
            with self._lock:
                link = self._idle.pop() if self._idle and not self._closed else None
            if link is None:
                return self.connect()
            if not link.is_dead():
                return link
            link.let_go()

    def put_back(self, link: TimedConnection) -> None:
        if not link.is_dead():
            with self._lock:
                if not self._closed and len(self._idle) < _IDLE:
                    self._idle.append(link)
                    return
        link.let_go()

    @contextlib.contextmanager
    def told_well(self) -> Iterator[None]:
        """Errors of psycopg become Longboat's."""
        try:
            yield
        except psycopg.Error as error:
            if self._closed:
                raise BrokerUnavailable(f"{self.where}: this broker was closed") from error
            if error.sqlstate in ("3F000", "42P01"):
                self.is_checked = False
            raise translated(error, self.where) from error

    def close(self) -> None:
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for link in idle:
            link.let_go()

    def after_fork(self) -> None:
        """In the child: the connections are the parent's."""
        for link in self._idle:
            leave_alone(link)
        self._idle = []
        self._lock = threading.Lock()


def leave_alone(link: TimedConnection) -> None:
    """It is another process's: it must be neither used nor closed here."""
    _left_alone.append(link)


_pools: weakref.WeakSet[Pool] = weakref.WeakSet()
_left_alone: list[TimedConnection] = []


def _after_fork() -> None:
    for pool in list(_pools):
        pool.after_fork()


os.register_at_fork(after_in_child=_after_fork)
