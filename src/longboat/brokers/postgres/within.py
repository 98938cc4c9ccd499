"""The broker within a transaction of the caller's: jobs, entries and looks go through the caller's connection."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from longboat.brokers.postgres.caller import CallersConnection
from longboat.brokers.postgres.inspector import PostgresInspector
from longboat.brokers.postgres.kv import PostgresKV
from longboat.brokers.postgres.put import put_within
from longboat.brokers.postgres.store import Store, Transaction
from longboat.contract.capabilities import WHOLE_CONTRACT
from longboat.core.job import Job

T = TypeVar("T")


class PostgresWithin:
    """See contract/optional.py."""

    capabilities = WHOLE_CONTRACT

    def __init__(self, store: Store, conn: CallersConnection) -> None:
        bound = _BoundStore(store, conn)
        self._store = store
        self._conn = conn
        self.inspector = PostgresInspector(bound)
        self.kv = PostgresKV(bound)

    def put(self, jobs: Sequence[Job]) -> list[str]:
        return put_within(self._store, self._conn, jobs)


class _BoundStore(Store):
    """Every call is made on this one connection, in the transaction that it is in; nothing is tried again."""

    def __init__(self, store: Store, conn: CallersConnection) -> None:
        self.__dict__.update(store.__dict__)
        self._conn = conn

    def use(self, do: Callable[[Any], T]) -> T:
        with self.pool.translating():
            return do(self._conn)

    def write(self, do: Callable[[Transaction], T]) -> T:
        def writing(conn: CallersConnection) -> T:
            tx = Transaction(self, conn)  # its first statement begins the caller's transaction, if need be
            with conn.savepoint():  # a savepoint in it: what is refused leaves nothing
                answer = do(tx)
                tx.finish()
            return answer

        return self.use(writing)

    def read(self, do: Callable[[Transaction], T]) -> T:
        return self.use(lambda conn: do(Transaction(self, conn)))
