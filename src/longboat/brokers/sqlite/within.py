"""The broker within a transaction of the caller's: jobs, entries and looks go through the caller's connection."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any, cast

from longboat.brokers.sqlite import layout, put
from longboat.brokers.sqlite.after_commit import AfterCommit
from longboat.brokers.sqlite.faults import translated
from longboat.brokers.sqlite.inspector import SqliteInspector
from longboat.brokers.sqlite.kv import SqliteKV
from longboat.brokers.sqlite.store import Store, Transaction
from longboat.brokers.sqlite.wake import Ringer
from longboat.contract.caller import Caller
from longboat.contract.capabilities import WHOLE_CONTRACT
from longboat.core.job import Job
from longboat.errors import ConfigError


class SqliteWithin:
    """See contract/optional.py."""

    capabilities = WHOLE_CONTRACT

    def __init__(self, store: Store, ringer: Ringer, after: AfterCommit, connection: object) -> None:
        """Raises ConfigError for a connection to another database."""
        self._store = _BoundStore(store, Caller(connection))
        self._after = after
        self.inspector = SqliteInspector(self._store, ringer)
        self.kv = SqliteKV(self._store)

    def put(self, jobs: Sequence[Job]) -> list[str]:
        if not jobs:
            return []
        new = put.put(self._store, jobs, None)
        self._after.ring(jobs)
        return new


class _Statements:
    """The caller's connection as the store uses its own."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def execute(self, sql: str, values: Any = ()) -> Any:
        if sql == "BEGIN":  # of several looks that are to see the same state: they do, within one transaction
            return None
        return self._caller.execute(sql, values)


class _BoundStore(Store):
    """Every call is made on this one connection, in the transaction that it is in. It takes no lock but SQLite's own."""

    def __init__(self, store: Store, caller: Caller) -> None:
        self.path, self.clock = store.path, store.clock
        self._caller = caller
        db: object = _Statements(caller)
        self._db = cast(sqlite3.Connection, db)
        files = {name: file for _, name, file in self._rows("PRAGMA database_list")} if caller.vendor == "sqlite" else {}
        if not _is_same(files.get("main", ""), self.path):
            where = f"a {caller.vendor} database" if caller.vendor != "sqlite" else files["main"] or "a database in memory"
            raise ConfigError(
                f"session: the jobs are in the SQLite file {self.path}, and the connection leads to {where}. Let both use "
                "one file, or give the app an outbox."
            )
        if not caller.driver.in_transaction:
            store.prepare()
        self._begin_as_its_driver_would()
        with self._translating():
            if not layout.is_current(self._db, self.path):
                with caller.savepoint():
                    layout.write(self._db)

    def _begin_as_its_driver_would(self) -> None:
        """Python's driver begins a transaction before the first INSERT, and only then; a savepoint would not do."""
        driver = self._caller.driver
        if driver.isolation_level is not None and not driver.in_transaction:
            with self._translating():
                self._db.execute("BEGIN IMMEDIATE")  # it is going to write: one that reads first may have to give way

    @contextlib.contextmanager
    def write(self, *, durable: bool = True) -> Iterator[Transaction]:  # noqa: ARG002  # the caller's commit decides that
        with self._translating(), self._caller.savepoint():
            transaction = Transaction(self._db, self.clock.now())
            yield transaction
            transaction.flush()

    @contextlib.contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        with self._translating():
            yield self._db

    @contextlib.contextmanager
    def _translating(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise translated(error, self.path) from error

    def _rows(self, sql: str) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = self._caller.execute(sql).fetchall()
        return rows


def _is_same(file: str, path: str) -> bool:
    try:
        return bool(file) and os.path.samefile(file, path)
    except FileNotFoundError:
        return False
