"""How the conformance suite and the model meet the brokers that Longboat ships."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from longboat.broker import Broker
from longboat.brokers.memory import MemoryBroker
from longboat.clock import Clock
from longboat.job import MESSAGE_VERSION, Job, new_id, order_of
from longboat.testing.conformance import NewBroker


class NewMemory:
    def __init__(self, _folder: Path, clock: Clock) -> None:
        self.broker = MemoryBroker(clock=clock)

    def open(self) -> Broker:
        return self.broker

    def inject(self, raw: bytes, queue: str) -> None:
        with self.broker._store.turn() as now:
            self.broker._store.add(Job(MESSAGE_VERSION, new_id(), "", b"", queue), raw, now)


class NewSqlite:
    def __init__(self, folder: Path, clock: Clock) -> None:
        self.path = folder / f"{new_id()}.db"
        self.clock = clock

    def open(self) -> Broker:
        from longboat.brokers.sqlite import SqliteBroker

        return SqliteBroker(str(self.path), clock=self.clock)

    def inject(self, raw: bytes, queue: str) -> None:
        job_id = new_id()
        seq = order_of(job_id)
        with closing(self.open()) as broker:
            broker.inspector.counts()  # the store is made at its first use
        with closing(sqlite3.connect(self.path)) as db, db:
            db.execute("INSERT INTO jobs VALUES (?, ?, ?)", (seq, job_id, raw))
            db.execute("INSERT INTO ready VALUES (?, 0, ?, ?, 0, 0, NULL, NULL)", (queue, seq, job_id))
            db.execute(
                "INSERT INTO counters VALUES (?, 'ready', 1) ON CONFLICT (queue, state) DO UPDATE SET n = n + 1", (queue,)
            )


ADAPTERS: dict[str, Callable[[Path, Clock], NewBroker]] = {"memory": NewMemory, "sqlite": NewSqlite}
"""By name: a new, empty store, in a folder if it needs one, that goes by this clock."""
