"""SqliteBroker: jobs in one file of this machine, shared by any number of processes."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence

from longboat.brokers.sqlite import put, sweep
from longboat.brokers.sqlite.after_commit import AfterCommit
from longboat.brokers.sqlite.beside import WAKE
from longboat.brokers.sqlite.consumer import SqliteConsumer, id_of
from longboat.brokers.sqlite.inspector import SqliteInspector
from longboat.brokers.sqlite.kv import SqliteKV
from longboat.brokers.sqlite.packing import as_json
from longboat.brokers.sqlite.results import SqliteResults
from longboat.brokers.sqlite.store import Store, Synchronous
from longboat.brokers.sqlite.tidy import Tidier
from longboat.brokers.sqlite.transfer import SqliteTransfer
from longboat.brokers.sqlite.wake import CONSUMER, Ringer
from longboat.brokers.sqlite.within import SqliteWithin
from longboat.contract.broker import Token
from longboat.contract.capabilities import WHOLE_CONTRACT, Capability
from longboat.core.clock import SYSTEM, Clock
from longboat.core.job import Failure, Job


class SqliteBroker:
    """Keeps jobs in the database at `path`, which it creates at its first use, readable by its owner only.

    Acknowledged calls survive the death of any process. With `synchronous="full"` they survive a power cut too; with
    "normal" a power cut may undo the newest ones. `timeout`: seconds that a call may wait for other writers.
    It may be used after a fork: the child opens its own connections.
    """

    capabilities = WHOLE_CONTRACT | {Capability.TIDY, Capability.TRANSACTIONAL}

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        synchronous: Synchronous = "full",
        clock: Clock = SYSTEM,
        timeout: float = 2.0,
    ) -> None:
        self._store = Store(os.fspath(path), synchronous, clock, timeout)
        self._ringer = Ringer(f"{self._store.path}{WAKE}")
        self._tidier = Tidier(self._store, self._ringer)
        self.results = SqliteResults(self._store, self._ringer.directory)
        self.inspector = SqliteInspector(self._store, self._ringer)
        self._after_commit = AfterCommit(self.inspector, self._ringer)
        self.kv = SqliteKV(self._store)
        self.transfer = SqliteTransfer(self._store, self._ringer)

    def put(self, jobs: Sequence[Job], *, token: Token | None = None) -> list[str]:
        if not jobs:
            return []
        new = put.put(self._store, jobs, token)
        if any(job.delay > 0 for job in jobs):
            self._ringer.ring(CONSUMER)  # each has to wake up in time
        else:
            for queue in {job.queue for job in jobs}:
                self._ringer.ring_some(queue, len(jobs))
        return new

    def within(self, connection: object) -> SqliteWithin:
        return SqliteWithin(self._store, self._ringer, self._after_commit, connection)

    def consumer(
        self, queues: Sequence[str], *, lease: float, tasks: Collection[str] = (), name: str = ""
    ) -> SqliteConsumer:
        secret = os.urandom(6).hex()
        queues = list(dict.fromkeys(queues))
        with self._store.write() as tx:
            n = tx.run(
                "INSERT INTO longboat_consumers (id, name, queues, lease, deadline) VALUES (?, ?, ?, ?, ?) RETURNING n",
                (secret, name, as_json(queues), lease, tx.now + lease),
            ).fetchone()[0]
            consumer_id = id_of(n, secret)
            tx.run("UPDATE longboat_consumers SET id = ? WHERE n = ?", (consumer_id, n))
        return SqliteConsumer(self._store, self._ringer, consumer_id, queues, tuple(tasks), lease)

    def evict(self, consumer: str, failure: Failure) -> int:
        with self._store.write() as tx:
            row = tx.run("SELECT n FROM longboat_consumers WHERE id = ?", (consumer,)).fetchone()
            count = sweep.end_consumer(tx, row[0], failure) if row else 0
        self._ringer.tell(consumers=count > 0, listeners=count > 0)
        return count

    def tidy(self, budget: float) -> float:
        return self._tidier.tidy(budget)

    def close(self) -> None:
        self._after_commit.close()
        self._store.close()
        self._ringer.close()
