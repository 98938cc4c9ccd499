"""Jobs as people look at them: where a job is, and pages of each state."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, NamedTuple

from longboat.brokers.sqlite.packing import as_json
from longboat.brokers.sqlite.places import places_of
from longboat.brokers.sqlite.rows import Row
from longboat.brokers.sqlite.store import Transaction
from longboat.contract.base_pages import Position, cursor_of, page_of, position_of, window
from longboat.core import codec
from longboat.core.job import State
from longboat.core.views import JobView, Page, job_or_none, job_view


class JobRow(NamedTuple):
    """A job's row in whichever table it is."""

    state: str
    seq: int
    id: str
    queue: str
    rank: int
    attempts: int
    failures: bytes | None
    message: bytes | None
    due: float | None
    started: float | None
    ended: float | None
    worker: str | None
    result: bytes | None
    key: int
    """The lease's token or the ending's number."""

    @property
    def place(self) -> Row:
        """Its place in the tables of what has not ended."""
        return Row(self.queue, self.rank, self.seq, self.id, self.attempts, failures=self.failures)


def _select(table: str, state: str, rank: str = "t.rank", rest: str = "NULL, NULL, NULL, NULL, NULL, 0") -> str:
    return (
        f"SELECT {state}, t.seq, t.id, t.queue, {rank}, t.attempts, t.failures, "
        f"(SELECT message FROM longboat_jobs AS m WHERE m.seq = t.seq AND m.id = t.id), {rest} FROM longboat_{table} AS t"
    )


_WORKER = "(SELECT iif(c.name = '', c.id, c.name) FROM longboat_consumers AS c WHERE c.n = t.consumer)"
_READY = _select("ready", "'ready'")
_SCHEDULED = _select("scheduled", "'scheduled'", rest="t.due, NULL, NULL, NULL, NULL, 0")
_WAITING = _select("waiting", "'waiting'")
_LEASED = _select("leased", "'running'", rest=f"NULL, t.since, NULL, {_WORKER}, NULL, t.token")
_ENDED = _select("ended", "t.state", rank="0", rest="NULL, t.started, t.ended, NULL, t.result, t.n")


def find(db: sqlite3.Connection, ids: Sequence[str]) -> dict[str, JobRow]:
    """Where the jobs with these ids are. Within one transaction, or a job on its way between two tables is missed."""
    wanted = places_of(db, ids)
    seqs = as_json(sorted(set(wanted.values())))
    leased = db.execute(f"{_LEASED} WHERE t.seq IN (SELECT value FROM json_each(?))", (seqs,)).fetchall()
    found = {row[2]: JobRow(*row) for row in leased if row[2] in wanted}
    for job_id, seq in wanted.items():
        if job_id not in found:
            row = _find_one(db, seq, job_id)
            if row is not None:
                found[job_id] = row
    return found


def _find_one(db: sqlite3.Connection, seq: int, id: str) -> JobRow | None:
    message = db.execute("SELECT message FROM longboat_jobs WHERE seq = ? AND id = ?", (seq, id)).fetchone()
    if message is None:
        return None
    for select in (_ENDED, _SCHEDULED, _WAITING):
        row = db.execute(f"{select} WHERE t.seq = ? AND t.id = ?", (seq, id)).fetchone()
        if row is not None:
            return JobRow(*row)
    where, values = "t.seq = ? AND t.id = ?", (seq, id)
    job = job_or_none(message[0])
    if job is not None:
        where, values = f"t.queue = ? AND t.rank = ? AND {where}", (job.queue, -job.priority, *values)  # type: ignore[assignment]  # a longer tuple
    row = db.execute(f"{_READY} WHERE {where}", values).fetchone()
    return JobRow(*row) if row else None


def view(row: JobRow) -> JobView:
    return job_view(
        job_or_none(row.message),
        row.message,
        id=row.id,
        state=State(row.state),
        queue=row.queue,
        attempts=row.attempts,
        failures=codec.decode_failures(row.failures),
        priority=-row.rank,
        due=row.due,
        started=row.started,
        ended=row.ended,
        worker=row.worker,
        result=row.result,
    )


def delete_ended(tx: Transaction, row: JobRow) -> None:
    """The job has not ended after all."""
    tx.run("DELETE FROM longboat_ended WHERE state = ? AND queue = ? AND n = ?", (row.state, row.queue, row.key))
    tx.count(row.queue, State(row.state), -1)


class _Order(NamedTuple):
    """How the jobs of a state are paged through."""

    select: str
    kinds: dict[str, type[str] | type[int] | type[float]]
    """By field of JobRow: what it holds. In the order of the jobs."""

    @property
    def columns(self) -> str:
        return ", ".join(f"t.{field}" for field in self.kinds)


_BY_AGE = {"seq": int, "id": str}
_ORDERS = {
    State.READY: _Order(_READY, {"queue": str, "rank": int, **_BY_AGE}),
    State.SCHEDULED: _Order(_SCHEDULED, {"due": float, **_BY_AGE}),
    State.WAITING: _Order(_WAITING, _BY_AGE),
    State.RUNNING: _Order(_LEASED, _BY_AGE),
}
_ENDED_ORDER = _Order(_ENDED, {"key": int})


def page(db: sqlite3.Connection, state: State, queue: str | None, task: str | None, after: str | None, limit: int) -> Page:
    """See the contract of Inspector.jobs."""
    kinds = _ORDERS.get(state, _ENDED_ORDER).kinds
    read = _ended if state.ended else _rows
    rows = read(db, state, queue, position_of(after, *kinds.values()), window(limit, task) + 1)
    return page_of(rows, limit, task, view, lambda row: cursor_of(*[getattr(row, field) for field in kinds]))


def _rows(db: sqlite3.Connection, state: State, queue: str | None, after: Position | None, limit: int) -> list[JobRow]:
    order = _ORDERS[state]
    conditions: list[str] = ["TRUE"]
    values: list[Any] = []
    if queue is not None:
        conditions.append("t.queue = ?")
        values.append(queue)
    if after is not None:
        conditions.append(f"({order.columns}) > ({', '.join('?' * len(after))})")
        values += after
    where = " AND ".join(conditions)
    if state is State.RUNNING:  # sorted first, so that only the messages of this page are read
        where = f"t.token IN (SELECT t.token FROM longboat_leased AS t WHERE {where} ORDER BY {order.columns} LIMIT ?)"
        values.append(limit)
    sql = f"{order.select} WHERE {where} ORDER BY {order.columns} LIMIT ?"
    return [JobRow(*row) for row in db.execute(sql, (*values, limit)).fetchall()]


def _ended(db: sqlite3.Connection, state: State, queue: str | None, after: Position | None, limit: int) -> list[JobRow]:
    """The newest first; of all queues the newest of each, merged."""
    queues = [queue]
    if queue is None:
        queues = [
            name for (name,) in db.execute("SELECT queue FROM longboat_counts WHERE state = ? AND n > 0", (state.value,))
        ]
    before = (1 << 63) - 1 if after is None else after[0]
    places = []
    for name in queues:
        sql = "SELECT n, queue FROM longboat_ended WHERE state = ? AND queue = ? AND n < ? ORDER BY n DESC LIMIT ?"
        places += db.execute(sql, (state.value, name, before, limit)).fetchall()
    newest = sorted(places, reverse=True)[:limit]
    one = f"{_ENDED} WHERE t.state = ? AND t.queue = ? AND t.n = ?"
    return [JobRow(*db.execute(one, (state.value, name, n)).fetchone()) for n, name in newest]
