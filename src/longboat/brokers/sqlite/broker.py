"""SqliteBroker: jobs in one file of this machine, shared by any number of processes."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from longboat.brokers.sqlite import put
from longboat.brokers.sqlite.after_commit import AfterCommit
from longboat.brokers.sqlite.beside import WAKE
from longboat.brokers.sqlite.kv import SqliteKV
from longboat.brokers.sqlite.store import Store, Synchronous
from longboat.brokers.sqlite.wake import CONSUMER, Ringer
from longboat.contract.broker import Token
from longboat.contract.capabilities import WHOLE_CONTRACT, Capability
from longboat.core.clock import SYSTEM, Clock
from longboat.core.job import Failure, Job

if TYPE_CHECKING:  # what a caller that only puts does without is imported when it is asked for
    from longboat.brokers.sqlite.consumer import SqliteConsumer
    from longboat.brokers.sqlite.inspector import SqliteInspector
    from longboat.brokers.sqlite.results import SqliteResults
    from longboat.brokers.sqlite.tidy import Tidier
    from longboat.brokers.sqlite.transfer import SqliteTransfer
    from longboat.brokers.sqlite.within import SqliteWithin


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
        self._after_commit = AfterCommit(lambda ids: self.inspector.find(ids), self._ringer)
        self.kv = SqliteKV(self._store)

    @cached_property
    def results(self) -> SqliteResults:
        from longboat.brokers.sqlite.results import SqliteResults

        return SqliteResults(self._store, self._ringer.directory)

    @cached_property
    def inspector(self) -> SqliteInspector:
        from longboat.brokers.sqlite.inspector import SqliteInspector

        return SqliteInspector(self._store, self._ringer)

    @cached_property
    def transfer(self) -> SqliteTransfer:
        from longboat.brokers.sqlite.transfer import SqliteTransfer

        return SqliteTransfer(self._store, self._ringer)

    @cached_property
    def _tidier(self) -> Tidier:
        from longboat.brokers.sqlite.tidy import Tidier

        return Tidier(self._store, self._ringer)

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
        from longboat.brokers.sqlite.within import SqliteWithin

        return SqliteWithin(self._store, self._ringer, self._after_commit, connection)

    def consumer(
        self, queues: Sequence[str], *, lease: float, tasks: Collection[str] = (), name: str = ""
    ) -> SqliteConsumer:
        from longboat.brokers.sqlite.consumer import registered

        return registered(self._store, self._ringer, list(dict.fromkeys(queues)), tuple(tasks), lease, name)

    def evict(self, consumer: str, failure: Failure) -> int:
        from longboat.brokers.sqlite import sweep

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
