"""The store as its users call it: statements and transactions, each with a time limit, and retried where that helps."""

from __future__ import annotations

import contextlib
import random
import time
import zlib
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import psycopg

from longboat.brokers.postgres import migration
from longboat.brokers.postgres.caller import CallersConnection
from longboat.brokers.postgres.connections import AGAIN, HEADROOM, Pool, TimedConnection
from longboat.brokers.postgres.floors import READY
from longboat.core.clock import Clock
from longboat.core.job import State

T = TypeVar("T")
Values = Mapping[str, Any]
Connection = TimedConnection | CallersConnection

NOW = "coalesce(%(now)s::float8, extract(epoch FROM clock_timestamp())::float8)"
"""SQL: the time; the server's own unless a clock was given."""

_PAUSE, _LONGEST_PAUSE = 0.002, 0.1
"""Seconds before something is retried, at most."""
_AT_LEAST = 0.1
"""Seconds left for a call after a connection was opened for it, however long that took."""


class Store:
    """Safe to use from several threads. Opens late, and again after a fork. In its SQL "@." stands for the schema."""

    def __init__(self, url: str, where: str, schema: str, timeout: float, clock: Clock | None, pgbouncer: bool) -> None:
        self.pgbouncer = pgbouncer
        self.timeout = timeout
        self.clock = clock
        self.channel = f"longboat_{zlib.crc32(schema.encode()):08x}"
        """For notifications; other stores in the database have others."""
        self.dependents_until = 0.0
        """Monotonic time until which some jobs are taken to have dependents: settle.py uses another statement then."""
        self.pool = Pool(url, where, schema, timeout, pgbouncer)
        self._prefix = f"{migration.quoted(schema)}."
        self._texts: dict[str, bytes] = {}

    def text(self, sql: str) -> bytes:
        """The statement with this store's schema in it."""
        text = self._texts.get(sql)
        if text is None:
            text = self._texts[sql] = sql.replace("@.", self._prefix).encode()
        return text

    def run(self, conn: Connection, sql: str, values: Values) -> Any:
        """The cursor, its rows yet to be fetched. Raises psycopg's errors."""
        now = None if self.clock is None else self.clock.now()
        return conn.query(self.text(sql), {**values, "now": now})

    def call(self, sql: str, **values: Any) -> list[tuple[Any, ...]]:
        """Run one statement, which is a transaction of its own. Returns its rows."""
        return self.use(lambda conn: self.run(conn, sql, values).fetchall())

    def write(self, do: Callable[[Transaction], T]) -> T:
        """Do it in one transaction, again if that was rolled back in favour of another."""
        return self.use(lambda conn: self.write_on(conn, do))

    def write_on(self, conn: TimedConnection, do: Callable[[Transaction], T]) -> T:
        with conn.transaction():
            tx = Transaction(self, conn)
            answer = do(tx)
            tx.finish()
        return answer

    def read(self, do: Callable[[Transaction], T]) -> T:
        """Several statements that see the same state."""

        def reading(conn: TimedConnection) -> T:
            with conn.transaction():
                conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
                return do(Transaction(self, conn))

        return self.use(reading)

    def use(self, do: Callable[[TimedConnection], T]) -> T:
        """With a connection of the pool. `do` is called again where nothing was done: after a deadlock or a serialization
        failure, and with a new connection if the server has become read-only."""
        with self.pool.translating():
            until = time.monotonic() + self.timeout * HEADROOM
            with contextlib.suppress(psycopg.errors.ReadOnlySqlTransaction):
                return self._use(do, until)
            self.pool.era += 1
            return self._use(do, until)

    def _use(self, do: Callable[[TimedConnection], T], until: float) -> T:
        conn = self.pool.take()
        conn.until = max(until, time.monotonic() + _AT_LEAST)
        try:
            return self.again(conn, do)
        finally:
            conn.until = None
            self.pool.put_back(conn)

    @staticmethod
    def again(conn: TimedConnection, do: Callable[[TimedConnection], T]) -> T:
        """Do it again, for as long as one call may take, if it was rolled back in favour of another."""
        end = time.monotonic() + conn.patience if conn.until is None else conn.until
        longest = _PAUSE
        while True:
            try:
                return do(conn)
            except psycopg.Error as error:
                if error.sqlstate not in AGAIN or conn.closed or time.monotonic() + longest > end:
                    raise
            time.sleep(random.uniform(0, longest))  # so that the same two do not collide again
            longest = min(2 * longest, _LONGEST_PAUSE)

    def prepare(self) -> None:
        """Make the tables, unless this process knows that they are there."""
        if not self.pool.is_checked:
            self.use(lambda _: None)


class Transaction:
    """What is done within one write: statements, the changes of counts, and whom to notify."""

    def __init__(self, store: Store, conn: Connection) -> None:
        self.store = store
        self.conn = conn
        self.freed: dict[bytes, int] = {}
        """Keys of limits that may have room at the end, with how many leases of each have ended."""
        self.unblock: Callable[[Transaction], None] | None = None
        """What to do at the end about `freed` (limits.py)."""
        self._counts: defaultdict[tuple[bytes, str], int] = defaultdict(int)
        self._payloads: set[str] = set()
        self._ready: int | None = None
        """The smallest place of those that became ready."""
        self.now = float(self.run(f"SELECT {NOW}").fetchone()[0])

    def run(self, sql: str, **values: Any) -> Any:
        return self.store.run(self.conn, sql, values)

    def count(self, queue: bytes, state: State, change: int) -> None:
        self._counts[queue, state.value] += change

    def notify(self, payload: str) -> None:
        """Notify those who wait when this commits."""
        self._payloads.add(payload)

    def notify_ready(self, place: int) -> None:
        """The same: jobs are ready, this place is the smallest of theirs."""
        self._ready = place if self._ready is None else min(place, self._ready)

    def finish(self) -> None:
        """Before the commit."""
        if self.unblock is not None:
            self.unblock(self)
        changed = {key: n for key, n in self._counts.items() if n}
        if changed:
            self.run(
                "INSERT INTO @.counts SELECT * FROM unnest(%(queues)b::bytea[], %(states)s::text[], %(ns)s::bigint[])",
                queues=[queue for queue, _ in changed],
                states=[state for _, state in changed],
                ns=list(changed.values()),
            )
        if self._ready is not None:
            self.notify(f"{READY}{self._ready}")
        for payload in sorted(self._payloads):
            self.run("SELECT pg_notify(%(channel)s, %(payload)s)", channel=self.store.channel, payload=payload)
