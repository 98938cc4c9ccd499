"""PostgresBroker: jobs in a PostgreSQL database, shared by any number of machines."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import psycopg
import psycopg.conninfo

from longboat.brokers.postgres import put
from longboat.brokers.postgres.kv import PostgresKV
from longboat.brokers.postgres.migration import Migrations
from longboat.brokers.postgres.store import Store, Transaction
from longboat.contract.broker import Token
from longboat.contract.capabilities import WHOLE_CONTRACT, Capability
from longboat.contract.optional import Report
from longboat.core.clock import Clock
from longboat.core.job import Failure, Job

if TYPE_CHECKING:  # what a caller that only puts does without is imported when it is asked for
    from longboat.brokers.postgres.consumer import PostgresConsumer
    from longboat.brokers.postgres.inspector import PostgresInspector
    from longboat.brokers.postgres.results import PostgresResults
    from longboat.brokers.postgres.tidy import Housekeeper
    from longboat.brokers.postgres.transfer import PostgresTransfer
    from longboat.brokers.postgres.within import PostgresWithin

DEFAULT_SCHEMA = "longboat"


class PostgresBroker:
    """Keeps jobs in one schema of a database. The first use makes the tables, if the role may do so.

    What it acknowledged is as safe as the server's `synchronous_commit` makes it. `timeout`: seconds that a call may
    take. The server's clock decides, unless a `clock` is given. `pgbouncer`: keep no state in a session, so that each
    transaction may run in another one; waiting then means looking 20 times a second.
    Survives fork: the child opens its own connections.
    """

    capabilities = WHOLE_CONTRACT | {
        Capability.TIDY,
        Capability.TRANSACTIONAL,
        Capability.MIGRATE,
        Capability.DIAGNOSE,
    }

    def __init__(
        self,
        url: str,
        *,
        schema: str = DEFAULT_SCHEMA,
        timeout: float = 2.0,
        pgbouncer: bool = False,
        where: str | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._store = Store(url, where or url, schema, timeout, clock, pgbouncer)
        self.migrations = Migrations(self._store.pool.bare, schema)
        self.kv = PostgresKV(self._store)

    @cached_property
    def results(self) -> PostgresResults:
        from longboat.brokers.postgres.results import PostgresResults

        return PostgresResults(self._store)

    @cached_property
    def inspector(self) -> PostgresInspector:
        from longboat.brokers.postgres.inspector import PostgresInspector

        return PostgresInspector(self._store)

    @cached_property
    def transfer(self) -> PostgresTransfer:
        from longboat.brokers.postgres.transfer import PostgresTransfer

        return PostgresTransfer(self._store)

    @cached_property
    def _housekeeper(self) -> Housekeeper:
        from longboat.brokers.postgres.tidy import Housekeeper

        return Housekeeper(self._store)

    @staticmethod
    def check(url: str) -> None:
        """Raises ValueError for a URL or an option that libpq does not know."""
        try:
            psycopg.conninfo.conninfo_to_dict(url)
        except psycopg.ProgrammingError as error:
            raise ValueError(str(error).strip()) from None

    def put(self, jobs: Sequence[Job], *, token: Token | None = None) -> list[str]:
        return put.put(self._store, jobs, token) if jobs else []

    def within(self, connection: object) -> PostgresWithin:
        """See contract/optional.py. Raises ConfigError for what is no connection to PostgreSQL."""
        from longboat.brokers.postgres.caller import CallersConnection
        from longboat.brokers.postgres.within import PostgresWithin

        conn = CallersConnection(connection)
        self._store.prepare()
        return PostgresWithin(self._store, conn)

    def consumer(
        self, queues: Sequence[str], *, lease: float, tasks: Collection[str] = (), name: str = ""
    ) -> PostgresConsumer:
        from longboat.brokers.postgres.consumer import registered

        return registered(self._store, list(dict.fromkeys(queues)), tuple(tasks), lease, name)

    def evict(self, consumer: str, failure: Failure) -> int:
        from longboat.brokers.postgres import tidy

        def evicting(tx: Transaction) -> int:
            row = tx.run("SELECT n FROM @.consumers WHERE id = %(id)s", id=consumer).fetchone()
            return tidy.end_consumer(tx, row[0], failure) if row else 0

        return self._store.write(evicting)

    def tidy(self, budget: float) -> float:
        return self._housekeeper.tidy(budget)

    def diagnose(self) -> Report:
        from longboat.brokers.postgres import doctor  # for who asks only

        return doctor.look(self._store.pool)

    def close(self) -> None:
        self._store.pool.close()
