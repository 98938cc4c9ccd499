"""The small row of a job that has not ended: its columns, and its way in and out of `ready`, `scheduled` and `waiting`.

These tables are named for the state that their jobs are in.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from longboat.brokers.sqlite.store import Transaction
from longboat.core.job import State

PLACE = "queue, rank, seq, id"
PAST = "attempts, worker_deaths, expires_at, failures"
COLUMNS = f"{PLACE}, {PAST}"
"""In the order of `ready`."""

UNLEASED = (State.READY, State.SCHEDULED, State.WAITING)


class Row(NamedTuple):
    """COLUMNS."""

    queue: str
    rank: int
    seq: int
    id: str
    attempts: int = 0
    worker_deaths: int = 0
    expires_at: float | None = None
    failures: bytes | None = None


def insert(tx: Transaction, row: Row, delay: float = 0.0) -> None:
    """The job is ready, or scheduled."""
    if delay > 0:
        tx.run(f"INSERT INTO longboat_scheduled ({COLUMNS}, due) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", (*row, tx.now + delay))
    else:
        tx.run("INSERT OR IGNORE INTO longboat_ready VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
    tx.count(row.queue, State.SCHEDULED if delay > 0 else State.READY, 1)


def insert_waiting(tx: Transaction, row: Row, waits_for: str, dead_at: float, reason: bytes) -> None:
    values = (waits_for, *row[:4], dead_at, reason, *row[4:])
    tx.run("INSERT INTO longboat_waiting VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", values)
    tx.count(row.queue, State.WAITING, 1)


def find(tx: Transaction, state: State, row: Row) -> Row:
    """The whole row of a job of which the place is known."""
    return Row(*tx.run(f"SELECT {COLUMNS} FROM longboat_{state.value} WHERE {_where(state)}", _key(row)).fetchone())


def remove(tx: Transaction, state: State, row: Row) -> bool:
    """Whether it was there."""
    gone = tx.run(f"DELETE FROM longboat_{state.value} WHERE {_where(state)}", _key(row)).rowcount
    tx.count(row.queue, state, -gone)
    return gone > 0


def _where(state: State) -> str:
    return "seq = :seq AND id = :id" + (" AND queue = :queue AND rank = :rank" if state is State.READY else "")


def _key(row: Row) -> dict[str, Any]:
    return {"queue": row.queue, "rank": row.rank, "seq": row.seq, "id": row.id}
