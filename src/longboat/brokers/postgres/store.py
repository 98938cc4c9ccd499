"""The server as seen by this process: connections, statements, transactions, each with a time limit."""

from __future__ import annotations

import contextlib
import os
import random
import threading
import time
import weakref
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import psycopg
from psycopg import conninfo

from longboat.brokers.postgres import migration
from longboat.brokers.postgres.faults import AGAIN, translated
from longboat.brokers.postgres.link import Link, open_link
from longboat.clock import Clock
from longboat.errors import BrokerUnavailable
from longboat.job import State

T = TypeVar("T")
Values = Mapping[str, Any]

NOW = "coalesce(%(now)s::float8, extract(epoch FROM clock_timestamp())::float8)"
"""SQL: the time; the server's own unless a clock was given."""

_PAUSE, _LONGEST_PAUSE = 0.002, 0.1
"""Seconds before something is tried again, at most."""
_IDLE = 8
"""Connections kept for the next call, at most."""
_HEADROOM = 0.95
"""The part of the time limit that a statement may use up, so that an error comes within the limit."""
_AT_LEAST = 0.1
"""Seconds left for a call after a connection was made for it, however long that took."""
_SETTINGS = (
    "-c jit=off -c enable_seqscan=off -c enable_bitmapscan=off -c enable_mergejoin=off "
    "-c default_transaction_isolation=read\\ committed"
)
"""Plans must not follow the statistics, which are always stale here: every way of a job has its index."""


class Transaction:
    """What is done within one write: statements, and how the counts change by them."""

    def __init__(self, store: Store, link: Link) -> None:
        self._store = store
        self.link = link
        self.channel = store.channel
        """Unlike those of other stores in the database."""
        self._counts: defaultdict[tuple[bytes, str], int] = defaultdict(int)
        self._told: set[str] = set()
        self.now = float(self.run(f"SELECT {NOW}").fetchone()[0])

    def run(self, sql: str, **values: Any) -> Any:
        return self._store.run(self.link, sql, values)

    def count(self, queue: bytes, state: State, change: int) -> None:
        self._counts[queue, state.value] += change

    def tell(self, payload: str) -> None:
        """Notify those who wait, when this commits."""
        self._told.add(payload)

    def flush(self) -> None:
        changed = {place: n for place, n in self._counts.items() if n}
        if changed:
            self.run(
                "INSERT INTO @.counts SELECT * FROM unnest(%(queues)b::bytea[], %(states)s::text[], %(ns)s::bigint[])",
                queues=[queue for queue, _ in changed],
                states=[state for _, state in changed],
                ns=list(changed.values()),
            )
        for payload in sorted(self._told):
            self.run("SELECT pg_notify(%(channel)s, %(payload)s)", channel=self.channel, payload=payload)


class Store:
    """Safe to use from several threads; opened late, again after a fork."""

    def __init__(self, url: str, where: str, schema: str, timeout: float, clock: Clock | None, pgbouncer: bool) -> None:
        self.where = where
        self.schema = schema
        self.pgbouncer = pgbouncer
        self.timeout = timeout
        self.clock = clock
        self.channel = f"longboat_{zlib.crc32(schema.encode()):08x}"
        self._prefix = f"{migration.quoted(schema)}."
        self._url = url
        self._texts: dict[str, bytes] = {}
        self._idle: list[Link] = []
        self._lock = threading.Lock()
        self._checked = False
        self._closed = False
        self._done: dict[str, float] = {}
        _stores.add(self)

    # --- statements

    def text(self, sql: str) -> bytes:
        """The statement with this store's schema in it."""
        text = self._texts.get(sql)
        if text is None:
            text = self._texts[sql] = sql.replace("@.", self._prefix).encode()
        return text

    def run(self, link: Link, sql: str, values: Values) -> Any:
        cursor = link.cursor(binary=True)
        now = None if self.clock is None else self.clock.now()
        return cursor.execute(self.text(sql), {**values, "now": now})

    def call(self, sql: str, **values: Any) -> list[tuple[Any, ...]]:
        """One statement, which is a transaction of its own; its rows."""
        return self.use(lambda link: self.run(link, sql, values).fetchall())

    def write(self, do: Callable[[Transaction], T]) -> T:
        """Do it in one transaction, again if it was rolled back for the sake of another."""
        return self.use(lambda link: self.write_on(link, do))

    def write_on(self, link: Link, do: Callable[[Transaction], T]) -> T:
        with link.transaction():
            tx = Transaction(self, link)
            answer = do(tx)
            tx.flush()
        return answer

    def read(self, do: Callable[[Transaction], T]) -> T:
        """Several statements that see the same state."""

        def reading(link: Link) -> T:
            with link.transaction():
                link.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
                return do(Transaction(self, link))

        return self.use(reading)

    def use(self, do: Callable[[Link], T]) -> T:
        """With a connection of the pool. `do` is done again after a deadlock or a serialization failure."""
        with self.told_well():
            until = time.monotonic() + self.timeout * _HEADROOM
            link = self._take()
            link.until = max(until, time.monotonic() + _AT_LEAST)
            try:
                return self.again(link, do)
            finally:
                link.until = None
                self._put_back(link)

    @staticmethod
    def again(link: Link, do: Callable[[Link], T]) -> T:
        """Do it again, for as long as one call may take, if it was rolled back for the sake of another."""
        end = time.monotonic() + link.patience if link.until is None else link.until
        longest = _PAUSE
        while True:
            try:
                return do(link)
            except psycopg.Error as error:
                if error.sqlstate not in AGAIN or link.closed or time.monotonic() + longest > end:
                    raise
            time.sleep(random.uniform(0, longest))  # so that the same do not meet again
            longest = min(2 * longest, _LONGEST_PAUSE)

    def prepare(self) -> None:
        """Make the store, or bring it up to date, if this process does not know that it is."""
        if not self._checked:
            self.use(lambda _: None)

    # --- connections

    def bare(self, do: Callable[[Link], T]) -> T:
        """With a new connection, whatever the store is like."""
        with self.told_well():
            link = self._open()
            try:
                return do(link)
            finally:
                link.let_go()

    def connect(self) -> Link:
        """A new connection, to a store that is up to date."""
        link = self._open()
        try:
            if not self._checked:
                migration.migrate(link, self.schema)
                self._checked = True
        except BaseException:
            link.let_go()
            raise
        return link

    def _open(self) -> Link:
        if self._closed:
            raise BrokerUnavailable(f"{self.where}: this broker was closed")
        options: dict[str, Any] = dict(conninfo.conninfo_to_dict(self._url))
        if not self.pgbouncer:
            limit = f"-c statement_timeout={int(self.timeout * 1000)}"
            options["options"] = f"{options.get('options') or ''} {_SETTINGS} {limit}".strip()
        options.setdefault("application_name", "longboat")
        return open_link(conninfo.make_conninfo(**options), self.timeout * _HEADROOM, prepare=not self.pgbouncer)

    def _take(self) -> Link:
        while True:
            with self._lock:
                link = self._idle.pop() if self._idle and not self._closed else None
            if link is None:
                return self.connect()
            if not link.is_dead():
                return link
            link.let_go()

    def _put_back(self, link: Link) -> None:
        if not link.is_dead():
            with self._lock:
                if not self._closed and len(self._idle) < _IDLE:
                    self._idle.append(link)
                    return
        link.let_go()

    @contextlib.contextmanager
    def told_well(self) -> Iterator[None]:
        try:
            yield
        except psycopg.Error as error:
            if self._closed:
                raise BrokerUnavailable(f"{self.where}: this broker was closed") from error
            if error.sqlstate in ("3F000", "42P01"):
                self._checked = False
            raise translated(error, self.where) from error

    def due(self, what: str, every: float) -> bool:
        """Whether this process has not done this within the last `every` seconds; True is told once."""
        now = time.monotonic() if self.clock is None else self.clock.monotonic()
        with self._lock:
            if now - self._done.get(what, -every) < every:
                return False
            self._done[what] = now
            return True

    def close(self) -> None:
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for link in idle:
            link.let_go()

    def after_fork(self) -> None:
        """In the child: the connections are the parent's."""
        _left_alone.extend(self._idle)
        self._idle = []
        self._lock = threading.Lock()


class Line:
    """A connection of its own, for who waits on it. One thread at a time uses it."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._link: Link | None = None
        self._pid = -1
        self._heard: list[str] = []
        self.is_deaf = store.pgbouncer
        """It never hears a notification."""
        self.fresh = False
        """It was opened since somebody set this to False: notifications may have been missed."""

    def link(self) -> Link:
        """The connection, which hears notifications."""
        if self._link is not None and (self._pid != os.getpid() or self._link.closed):
            self.drop()
        if self._link is None:
            link = self._store.connect()
            try:
                link.add_notify_handler(lambda notify: self._heard.append(notify.payload))
                if not self.is_deaf:
                    link.execute(f"LISTEN {self._store.channel}".encode())
            except BaseException:
                link.let_go()
                raise
            self._link, self._pid, self.fresh = link, os.getpid(), True
        return self._link

    def run(self, sql: str, **values: Any) -> Any:
        return self._store.run(self.link(), sql, values)

    def drain(self) -> None:
        """Hear what the server has said unasked."""
        self._heard += [payload.decode() for payload in self.link().drain()]

    def told(self) -> list[str]:
        """The notifications that have come since the last call."""
        heard, self._heard = self._heard, []
        return heard

    def drop(self) -> None:
        link, self._link = self._link, None
        if link is not None and self._pid == os.getpid():
            link.let_go()
        elif link is not None:
            _left_alone.append(link)


_stores: weakref.WeakSet[Store] = weakref.WeakSet()
_left_alone: list[Any] = []


def _after_fork() -> None:
    for store in list(_stores):
        store.after_fork()


os.register_at_fork(after_in_child=_after_fork)
