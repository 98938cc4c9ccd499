"""Jobs as people look at them: where a job is, and pages of each state."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from longboat.brokers.sqlite.packing import as_json
from longboat.brokers.sqlite.places import places
from longboat.core import codec
from longboat.core.job import Job, State
from longboat.core.views import JobView, Page
from longboat.errors import ConfigError, Undecodable

_LOOKED_AT = 1000
"""Rows that one page of a single task looks at, at most."""


class JobRow(NamedTuple):
    """A job's row in whichever table it is."""

    state: str
    seq: int
    id: str
    queue: str
    rank: int
    attempts: int
    failures: bytes | None
    body: bytes | None
    due: float | None
    started: float | None
    ended: float | None
    worker: str | None
    result: bytes | None
    key: int
    """The lease's token or the ending's number."""


def _select(table: str, state: str, rank: str = "t.rank", rest: str = "NULL, NULL, NULL, NULL, NULL, 0") -> str:
    return (
        f"SELECT {state}, t.seq, t.id, t.queue, {rank}, t.attempts, t.failures, "
        f"(SELECT body FROM jobs AS m WHERE m.seq = t.seq AND m.id = t.id), {rest} FROM {table} AS t"
    )


_WORKER = "(SELECT iif(c.name = '', c.id, c.name) FROM consumers AS c WHERE c.n = t.consumer)"
_READY = _select("ready", "'ready'")
_DELAYED = _select("delayed", "'scheduled'", rest="t.due, NULL, NULL, NULL, NULL, 0")
_PARKED = _select("parked", "'waiting'")
_LEASED = _select("leased", "'running'", rest=f"NULL, t.since, NULL, {_WORKER}, NULL, t.token")
_ENDED = _select("ended", "t.state", rank="0", rest="NULL, t.started, t.ended, NULL, t.result, t.n")


def find(db: sqlite3.Connection, ids: Sequence[str]) -> dict[str, JobRow]:
    """Where the jobs with these ids are. Within one transaction, or a job on its way between two tables is missed."""
    wanted = places(db, ids)
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
    message = db.execute("SELECT body FROM jobs WHERE seq = ? AND id = ?", (seq, id)).fetchone()
    if message is None:
        return None
    for select in (_ENDED, _DELAYED, _PARKED):
        row = db.execute(f"{select} WHERE t.seq = ? AND t.id = ?", (seq, id)).fetchone()
        if row is not None:
            return JobRow(*row)
    where, values = "t.seq = ? AND t.id = ?", (seq, id)
    job = decoded(message[0])
    if job is not None:
        where, values = f"t.queue = ? AND t.rank = ? AND {where}", (job.queue, -job.priority, *values)  # type: ignore[assignment]
    row = db.execute(f"{_READY} WHERE {where}", values).fetchone()
    return JobRow(*row) if row else None


def decoded(body: bytes | None) -> Job | None:
    try:
        return codec.decode_job(body) if body else None
    except Undecodable:
        return None


def view(row: JobRow) -> JobView:
    job = decoded(row.body)
    return JobView(
        id=row.id,
        state=State(row.state),
        queue=row.queue,
        task=job.task if job else "",
        priority=job.priority if job else -row.rank,
        attempts=row.attempts,
        payload=job.payload if job else (row.body or b""),
        enqueued=job.enqueued if job else None,
        due=row.due,
        started=row.started,
        ended=row.ended,
        worker=row.worker,
        result=row.result,
        failures=codec.decode_failures(row.failures),
        constraints=job.constraints if job else None,
        headers=job.headers if job else {},
    )


class _Order(NamedTuple):
    """How the jobs of a state are paged through."""

    select: str
    columns: str
    fields: tuple[str, ...]
    """Of Row: what `columns` hold."""


_ORDERS = {
    State.READY: _Order(_READY, "t.queue, t.rank, t.seq, t.id", ("queue", "rank", "seq", "id")),
    State.SCHEDULED: _Order(_DELAYED, "t.due, t.seq, t.id", ("due", "seq", "id")),
    State.WAITING: _Order(_PARKED, "t.seq, t.id", ("seq", "id")),
    State.RUNNING: _Order(_LEASED, "t.seq, t.id", ("seq", "id")),
}


def page(db: sqlite3.Connection, state: State, queue: str | None, task: str | None, after: str | None, limit: int) -> Page:
    """See the contract of Inspector.jobs."""
    limit = max(1, limit)
    window = limit if task is None else max(limit, _LOOKED_AT)
    key = _position(after)
    rows = _ended(db, state, queue, key, window + 1) if state.ended else _rows(db, state, queue, key, window + 1)
    views: list[JobView] = []
    for looked_at, row in enumerate(rows[:window], 1):
        job = view(row)
        if task is None or job.task == task:
            views.append(job)
        if len(views) == limit and looked_at < len(rows):
            return Page(views, _cursor(state, row))
    return Page(views, _cursor(state, rows[window - 1]) if len(rows) > window else None)


def _rows(db: sqlite3.Connection, state: State, queue: str | None, key: list[Any] | None, limit: int) -> list[JobRow]:
    order = _ORDERS[state]
    conditions: list[str] = ["TRUE"]
    values: list[Any] = []
    if queue is not None:
        conditions.append("t.queue = ?")
        values.append(queue)
    if key is not None:
        if len(key) != len(order.fields):
            raise ConfigError(f"after: {key!r} is no place among the jobs that are {state.value}")
        conditions.append(f"({order.columns}) > ({', '.join('?' * len(key))})")
        values += key
    where = " AND ".join(conditions)
    if state is State.RUNNING:  # sorted first, so that only the messages of this page are read
        where = f"t.token IN (SELECT t.token FROM leased AS t WHERE {where} ORDER BY {order.columns} LIMIT ?)"
        values.append(limit)
    sql = f"{order.select} WHERE {where} ORDER BY {order.columns} LIMIT ?"
    return [JobRow(*row) for row in db.execute(sql, (*values, limit)).fetchall()]


def _ended(db: sqlite3.Connection, state: State, queue: str | None, key: list[Any] | None, limit: int) -> list[JobRow]:
    """The newest first; of all queues the newest of each, merged."""
    queues = [queue]
    if queue is None:
        queues = [name for (name,) in db.execute("SELECT queue FROM counters WHERE state = ? AND n > 0", (state.value,))]
    before = (1 << 63) - 1 if key is None else key[0]
    places = []
    for name in queues:
        sql = "SELECT n, queue FROM ended WHERE state = ? AND queue = ? AND n < ? ORDER BY n DESC LIMIT ?"
        places += db.execute(sql, (state.value, name, before, limit)).fetchall()
    newest = sorted(places, reverse=True)[:limit]
    one = f"{_ENDED} WHERE t.state = ? AND t.queue = ? AND t.n = ?"
    return [JobRow(*db.execute(one, (state.value, name, n)).fetchone()) for n, name in newest]


def _cursor(state: State, row: JobRow) -> str:
    return as_json([row.key] if state.ended else [getattr(row, field) for field in _ORDERS[state].fields])


def _position(after: str | None) -> list[Any] | None:
    if after is None:
        return None
    try:
        position = msgspec.json.decode(after, type=list[str | int | float])
    except (msgspec.MsgspecError, ValueError):
        position = []
    if not position:
        raise ConfigError(f"after: {after!r} is no page's `after`")
    return position
