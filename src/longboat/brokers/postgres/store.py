"""The store as its users call it: statements and transactions, each with a time limit and tried again where that helps."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable
from typing import Any, TypeVar

import psycopg

from longboat.brokers.postgres import limits
from longboat.brokers.postgres.faults import AGAIN
from longboat.brokers.postgres.guest import Guest
from longboat.brokers.postgres.link import TimedConnection
from longboat.brokers.postgres.pool import HEADROOM, Pool
from longboat.brokers.postgres.transaction import Connection, Statements, Transaction, Values
from longboat.core.clock import Clock

T = TypeVar("T")

_PAUSE, _LONGEST_PAUSE = 0.002, 0.1
"""Seconds before something is tried again, at most."""
_AT_LEAST = 0.1
"""Seconds left for a call after a connection was made for it, however long that took."""


class Store:
    """Safe to use from several threads; opened late, again after a fork."""

    def __init__(self, url: str, where: str, schema: str, timeout: float, clock: Clock | None, pgbouncer: bool) -> None:
        self.pgbouncer = pgbouncer
        self.timeout = timeout
        self.clock = clock
        self._pool = Pool(url, where, schema, timeout, pgbouncer)
        self._statements = Statements(schema, clock)
        self.channel = self._statements.channel
        self._done: dict[str, float] = {}
        self.is_beside = False
        """Of late some jobs waited for others: settle.py takes another statement then."""

    def text(self, sql: str) -> bytes:
        """The statement with this store's schema in it."""
        return self._statements.text(sql)

    def run(self, link: Connection, sql: str, values: Values) -> Any:
        return self._statements.run(link, sql, values)

    def call(self, sql: str, **values: Any) -> list[tuple[Any, ...]]:
        """One statement, which is a transaction of its own; its rows."""
        return self.use(lambda link: self.run(link, sql, values).fetchall())

    def write(self, do: Callable[[Transaction], T]) -> T:
        """Do it in one transaction, again if it was rolled back for the sake of another."""
        return self.use(lambda link: self.write_on(link, do))

    def write_on(self, link: TimedConnection, do: Callable[[Transaction], T]) -> T:
        with link.transaction():
            tx = Transaction(self._statements, link)
            answer = do(tx)
            if tx.freed:
                limits.unblock(tx)
            tx.flush()
        return answer

    def guest(self, connection: Any) -> Transaction:
        """Within the transaction that a caller's connection is in, which begins here if need be. Errors as of psycopg."""
        return Transaction(self._statements, Guest(connection))

    def read(self, do: Callable[[Transaction], T]) -> T:
        """Several statements that see the same state."""

        def reading(link: TimedConnection) -> T:
            with link.transaction():
                link.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
                return do(Transaction(self._statements, link))

        return self.use(reading)

    def use(self, do: Callable[[TimedConnection], T]) -> T:
        """With a connection of the pool. `do` is done again after a deadlock or a serialization failure."""
        with self.told_well():
            until = time.monotonic() + self.timeout * HEADROOM
            link = self._pool.take()
            link.until = max(until, time.monotonic() + _AT_LEAST)
            try:
                return self.again(link, do)
            finally:
                link.until = None
                self._pool.put_back(link)

    @staticmethod
    def again(link: TimedConnection, do: Callable[[TimedConnection], T]) -> T:
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
        if not self._pool.is_checked:
            self.use(lambda _: None)

    def bare(self, do: Callable[[TimedConnection], T]) -> T:
        """With a new connection, whatever the store is like."""
        with self.told_well():
            link = self._pool.open()
            try:
                return do(link)
            finally:
                link.let_go()

    def connect(self) -> TimedConnection:
        """A new connection, to a store that is up to date. The caller closes it. Errors as of psycopg."""
        return self._pool.connect()

    def told_well(self) -> contextlib.AbstractContextManager[None]:
        """Errors of psycopg become Longboat's."""
        return self._pool.told_well()

    def due(self, what: str, every: float) -> bool:
        """Whether this process has not done this within the last `every` seconds; True is told to one thread, as a rule."""
        now = time.monotonic() if self.clock is None else self.clock.monotonic()
        if now - self._done.get(what, -every) < every:
            return False
        self._done[what] = now
        return True

    def close(self) -> None:
        self._pool.close()
