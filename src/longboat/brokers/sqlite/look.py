"""A consumer's look at the store: is there anything to do, and if not, when. It takes no lock and a few microseconds."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from longboat.brokers.sqlite import rows
from longboat.brokers.sqlite.rows import Row
from longboat.brokers.sqlite.store import Transaction
from longboat.core.job import State

Parked = tuple[Any, ...]
"""COLUMNS, then waits_for, dead_at and reason."""
_N = len(Row._fields)
_ALIVE = "EXISTS (SELECT 1 FROM longboat_consumers WHERE n = ?)"
_CANCELLED = "(SELECT total(token) FROM longboat_leased WHERE consumer = ? AND cancelled)"
_DUE = """
    (SELECT min(deadline) FROM longboat_consumers WHERE n <> ?),
    (SELECT min(due) FROM longboat_scheduled),
    (SELECT min(dead_at) FROM longboat_waiting),
    (SELECT min(at) FROM longboat_limit_openings),
    (SELECT min(expires_at) FROM longboat_ready WHERE expires_at IS NOT NULL),
    (SELECT min(expires_at) FROM longboat_scheduled WHERE expires_at IS NOT NULL),
    (SELECT min(expires_at) FROM longboat_waiting WHERE expires_at IS NOT NULL)"""


class Look(NamedTuple):
    """What a consumer saw."""

    alive: bool
    cancelled: int
    """0: none of its leases is to be cancelled; it changes with those that are."""
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
        self._mine = f"waits_for IN ({_marks(tasks)}) AND {within}"
        self._mine_values = (*tasks, *queues, *without)
        self._values = (consumer, consumer, *queues, *without, *self._mine_values, consumer)
        self._sql = f"""
            SELECT {_ALIVE}, {_CANCELLED},
                EXISTS (SELECT 1 FROM longboat_ready WHERE {within}),
                EXISTS (SELECT 1 FROM longboat_waiting) AND EXISTS (SELECT 1 FROM longboat_waiting WHERE {self._mine}),
                {_DUE}"""

    def look(self, db: sqlite3.Connection) -> Look:
        alive, cancelled, ready, parked, *moments = db.execute(self._sql, self._values).fetchone()
        return Look(bool(alive), int(cancelled), bool(ready or parked), bool(parked), _first(moments))

    def beat(self, db: sqlite3.Connection) -> tuple[bool, int]:
        """`alive` and `cancelled` alone."""
        sql = f"SELECT {_ALIVE}, {_CANCELLED}"
        alive, cancelled = db.execute(sql, (self._consumer, self._consumer)).fetchone()
        return bool(alive), int(cancelled)

    def cancelled_ids(self, db: sqlite3.Connection) -> list[str]:
        rows = db.execute(
            "SELECT id FROM longboat_leased WHERE consumer = ? AND cancelled ORDER BY token", (self._consumer,)
        )
        return [job_id for (job_id,) in rows]

    def unpark(self, tx: Transaction, n: int) -> list[Parked]:
        """Put up to `n` parked jobs that this consumer knows among the ready ones: a claim takes them in their order."""
        parked: list[Parked] = tx.run(
            f"SELECT {rows.COLUMNS}, waits_for, dead_at, reason FROM longboat_waiting "
            f"WHERE {self._mine} ORDER BY rank, seq LIMIT ?",
            (*self._mine_values, n),
        ).fetchall()
        for each in parked:
            rows.remove(tx, State.WAITING, Row(*each[:_N]))
            rows.insert(tx, Row(*each[:_N]))
        return parked


def repark(tx: Transaction, parked: Sequence[Parked]) -> None:
    """Those that the claim did not take wait on."""
    for each in parked:
        row = Row(*each[:_N])
        if rows.remove(tx, State.READY, row):
            rows.insert_waiting(tx, row, *each[_N:])


def next_due(db: sqlite3.Connection) -> float:
    """Wall-clock time at which something becomes due; infinite for never."""
    return _first(db.execute(f"SELECT {_DUE}", (0,)).fetchone())


def ready_queues(db: sqlite3.Connection, after: str) -> list[str]:
    """The queues that have ready jobs, in turn: those after `after` first."""
    names = [
        name
        for (name,) in db.execute(
            """
            WITH RECURSIVE found (queue) AS (
                SELECT min(queue) FROM longboat_ready
                UNION ALL
                SELECT (SELECT min(queue) FROM longboat_ready WHERE longboat_ready.queue > found.queue)
                FROM found WHERE queue IS NOT NULL
            )
            SELECT queue FROM found WHERE queue IS NOT NULL"""
        )
    ]
    return [name for name in names if name > after] + [name for name in names if name <= after]


def ready_count(db: sqlite3.Connection, queues: Sequence[str]) -> int:
    """Ready jobs of these queues; of all if it is none."""
    which = f"AND queue IN ({_marks(queues)})" if queues else ""
    count = db.execute(
        f"SELECT total(n) FROM longboat_counts WHERE state = ? {which}", (State.READY.value, *queues)
    ).fetchone()[0]
    return int(count)


def has_ready(db: sqlite3.Connection, queue: str) -> bool:
    return bool(db.execute("SELECT EXISTS (SELECT 1 FROM longboat_ready WHERE queue = ?)", (queue,)).fetchone()[0])


def _first(moments: Iterable[float | None]) -> float:
    return min((moment for moment in moments if moment is not None), default=math.inf)


def _marks(values: Sequence[str]) -> str:
    return ", ".join("?" * len(values))
