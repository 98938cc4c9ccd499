"""A consumer's look at the store: is there anything to do, and if not, when. Costs no lock and a few microseconds."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Sequence
from typing import Any, NamedTuple

from longboat.brokers.sqlite.store import Transaction
from longboat.core.job import State

Parked = tuple[Any, ...]
"""A row of `ready`, then task, dead_at and reason."""


class Look(NamedTuple):
    """What a consumer saw."""

    alive: bool
    cancelled: int
    """0: none of its leases is to be cancelled; changes whenever those that are change."""
    ready: bool
    parked: bool
    next: float
    """Wall-clock time at which something becomes due: a delay, an expiry, another consumer's end."""


class Looker:
    """The statements for one consumer's queues and tasks."""

    def __init__(self, consumer: int, queues: Sequence[str], tasks: Sequence[str], without: Sequence[str] = ()) -> None:
        """`without`: queues to leave out. No queue: every one."""
        self._consumer = consumer
        within = f"queue IN ({_marks(queues)})" if queues else "TRUE"
        if without:
            within += f" AND queue NOT IN ({_marks(without)})"
        self._mine = f"task IN ({_marks(tasks)}) AND {within}"
        self._mine_values = (*tasks, *queues, *without)
        self._values = (consumer, consumer, *queues, *without, *self._mine_values, consumer)
        self._sql = f"""
            SELECT EXISTS (SELECT 1 FROM consumers WHERE n = ?),
                (SELECT total(token) FROM leased WHERE consumer = ? AND cancel),
                EXISTS (SELECT 1 FROM ready WHERE {within}),
                EXISTS (SELECT 1 FROM parked) AND EXISTS (SELECT 1 FROM parked WHERE {self._mine}),
                (SELECT min(deadline) FROM consumers WHERE n <> ?),
                (SELECT min(due) FROM delayed),
                (SELECT min(dead_at) FROM parked),
                (SELECT min(at) FROM opening),
                (SELECT min(expires_at) FROM ready WHERE expires_at IS NOT NULL),
                (SELECT min(expires_at) FROM delayed WHERE expires_at IS NOT NULL),
                (SELECT min(expires_at) FROM parked WHERE expires_at IS NOT NULL)"""

    def look(self, db: sqlite3.Connection) -> Look:
        alive, cancelled, ready, parked, *moments = db.execute(self._sql, self._values).fetchone()
        following = min((moment for moment in moments if moment is not None), default=math.inf)
        return Look(bool(alive), int(cancelled), bool(ready or parked), bool(parked), following)

    def cancelled_ids(self, db: sqlite3.Connection) -> list[str]:
        rows = db.execute("SELECT id FROM leased WHERE consumer = ? AND cancel ORDER BY token", (self._consumer,))
        return [job_id for (job_id,) in rows]

    def unpark(self, tx: Transaction, n: int) -> list[Parked]:
        """Put up to `n` parked jobs that this consumer knows among the ready ones: a claim takes them in their order."""
        rows: list[Parked] = tx.run(
            "SELECT queue, rank, seq, id, attempts, returns, expires_at, failures, task, dead_at, reason FROM parked "
            f"WHERE {self._mine} ORDER BY rank, seq LIMIT ?",
            (*self._mine_values, n),
        ).fetchall()
        for row in rows:
            tx.run("INSERT OR IGNORE INTO ready VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row[:8])
            tx.run("DELETE FROM parked WHERE task = ? AND queue = ? AND rank = ? AND seq = ? AND id = ?", (row[8], *row[:4]))
            tx.count(row[0], State.WAITING, -1)
            tx.count(row[0], State.READY, 1)
        return rows


def repark(tx: Transaction, rows: Sequence[Parked]) -> None:
    """Those that the claim did not take wait on."""
    for row in rows:
        gone = tx.run("DELETE FROM ready WHERE queue = ? AND rank = ? AND seq = ? AND id = ?", row[:4])
        if gone.rowcount:
            tx.run("INSERT INTO parked VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", (row[8], *row[:4], *row[9:], *row[4:8]))
            tx.count(row[0], State.READY, -1)
            tx.count(row[0], State.WAITING, 1)


def waiting_queues(db: sqlite3.Connection, after: str) -> list[str]:
    """The queues that have ready jobs, in turn: those after `after` first."""
    names = [
        name
        for (name,) in db.execute(
            """
            WITH RECURSIVE found (queue) AS (
                SELECT min(queue) FROM ready
                UNION ALL
                SELECT (SELECT min(queue) FROM ready WHERE ready.queue > found.queue) FROM found WHERE queue IS NOT NULL
            )
            SELECT queue FROM found WHERE queue IS NOT NULL"""
        )
    ]
    return [name for name in names if name > after] + [name for name in names if name <= after]


def has_ready(db: sqlite3.Connection, queue: str) -> bool:
    return bool(db.execute("SELECT EXISTS (SELECT 1 FROM ready WHERE queue = ?)", (queue,)).fetchone()[0])


def _marks(values: Sequence[str]) -> str:
    return ", ".join("?" * len(values))
