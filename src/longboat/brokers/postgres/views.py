"""Jobs as people look at them: where a job is, and pages of each state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from longboat.brokers.postgres.names import name_of, raw
from longboat.brokers.postgres.prune import COUNTS
from longboat.brokers.postgres.transaction import Transaction
from longboat.core import codec
from longboat.core.job import Job, State
from longboat.core.views import JobView, Page
from longboat.errors import ConfigError, Undecodable

_LOOKED_AT = 1000
"""Rows that one page of a single task looks at, at most."""


class JobRow(NamedTuple):
    """A job's row in whichever table it is."""

    state: str
    place: int
    id: bytes | None
    queue: bytes
    rank: int
    attempts: int
    failures: bytes | None
    body: bytes | None
    due: float | None
    started: float | None
    ended: float | None
    worker: bytes | None
    result: bytes | None
    key: int
    """The lease's token or the ending's number."""
    table: str


def _select(source: str, state: str, table: str, rank: str = "t.rank", rest: str = "") -> str:
    rest = rest or "NULL::float8, NULL::float8, NULL::float8, NULL::bytea, NULL::bytea, 0::bigint"
    return (
        f"SELECT {state}, t.place, j.id, t.queue, {rank}, t.attempts, t.failures, j.body, {rest}, {table} "
        f"FROM {source} AS t "
        "LEFT JOIN LATERAL (SELECT id, body FROM @.jobs WHERE place = t.place OFFSET 0) AS j ON TRUE"
    )


_WORKER = """(SELECT CASE WHEN c.name = ''::bytea THEN convert_to(c.id, 'UTF8') ELSE c.name END
    FROM @.consumers AS c WHERE c.n = t.consumer)"""
_READY = _select("@.ready", "'ready'", "'ready'")
_READY_AT = _select(
    "unnest(%(places)b::bigint[], %(queues)b::bytea[], %(ranks)b::bigint[]) AS g (place, queue, rank) CROSS JOIN LATERAL "
    "(SELECT * FROM @.ready AS r WHERE r.queue = g.queue AND r.rank = g.rank AND r.place = g.place OFFSET 0)",
    "'ready'",
    "'ready'",
)
_DELAYED = _select(
    "@.delayed", "'scheduled'", "'delayed'", rest="t.due, NULL::float8, NULL::float8, NULL::bytea, NULL::bytea, 0::bigint"
)
WAITING = ("parked", "pending", "lined")
"""Tables of jobs that wait for something else than time."""
_ALL_WAITING = " UNION ALL ".join(
    f"SELECT place, queue, rank, attempts, failures, '{table}' AS source FROM @.{table}" for table in WAITING
)
_WAITING = _select(f"({_ALL_WAITING})", "'waiting'", "t.source")
_LEASED = _select(
    "@.leased", "'running'", "'leased'", rest=f"NULL::float8, t.since, NULL::float8, {_WORKER}, NULL::bytea, t.token"
)
_ENDED = _select(
    "@.ended", "t.state", "'ended'", rank="0::bigint", rest="NULL::float8, t.started, t.ended, NULL::bytea, t.result, t.n"
)


def find(tx: Transaction, ids: Sequence[str]) -> dict[str, JobRow]:
    """Where the jobs with these ids are. Within one snapshot, or a job on its way between two tables is missed."""
    rows = tx.run(
        "SELECT place, id, queue, rank FROM @.jobs WHERE id = ANY (%(ids)b::bytea[]) AND body IS NOT NULL",
        ids=[raw(each) for each in ids],
    ).fetchall()
    if not rows:
        return {}
    values: dict[str, Any] = {"places": [row[0] for row in rows]}
    found: dict[str, JobRow] = {}
    for select in (_LEASED, _ENDED, _DELAYED, _WAITING):
        for row in tx.run(f"{select} WHERE t.place = ANY (%(places)b::bigint[])", **values).fetchall():
            found[name_of(row[2])] = JobRow(*row)
    rest = [row for row in rows if name_of(row[1]) not in found]
    if rest:
        places, _, queues, ranks = (list(each) for each in zip(*rest, strict=True))
        for row in tx.run(_READY_AT, places=places, queues=queues, ranks=ranks).fetchall():
            found[name_of(row[2])] = JobRow(*row)
    return found


def decoded(body: bytes | None) -> Job | None:
    try:
        return codec.decode_job(body) if body else None
    except Undecodable:
        return None


def view(row: JobRow) -> JobView:
    job = decoded(row.body)
    return JobView(
        id=name_of(row.id or b""),
        state=State(row.state),
        queue=name_of(row.queue),
        task=job.task if job else "",
        priority=job.priority if job else -row.rank,
        attempts=row.attempts,
        payload=job.payload if job else (row.body or b""),
        enqueued=job.enqueued if job else None,
        due=row.due,
        started=row.started,
        ended=row.ended,
        worker=None if row.worker is None else name_of(row.worker),
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
    State.READY: _Order(_READY, "t.queue, t.rank, t.place", ("queue", "rank", "place")),
    State.SCHEDULED: _Order(_DELAYED, "t.due, t.place", ("due", "place")),
    State.WAITING: _Order(_WAITING, "t.place", ("place",)),
    State.RUNNING: _Order(_LEASED, "t.place", ("place",)),
}


def page(tx: Transaction, state: State, queue: str | None, task: str | None, after: str | None, limit: int) -> Page:
    """See the contract of Inspector.jobs."""
    limit = max(1, limit)
    window = limit if task is None else max(limit, _LOOKED_AT)
    key = _position(after)
    read = _ended if state.ended else _rows
    rows = read(tx, state, None if queue is None else raw(queue), key, window + 1)
    views: list[JobView] = []
    for looked_at, row in enumerate(rows[:window], 1):
        job = view(row)
        if task is None or job.task == task:
            views.append(job)
        if len(views) == limit and looked_at < len(rows):
            return Page(views, _cursor(state, row))
    return Page(views, _cursor(state, rows[window - 1]) if len(rows) > window else None)


def _rows(tx: Transaction, state: State, queue: bytes | None, key: list[Any] | None, limit: int) -> list[JobRow]:
    order = _ORDERS[state]
    conditions = ["TRUE"]
    values: dict[str, Any] = {"limit": limit}
    if queue is not None:
        conditions.append("t.queue = %(queue)b")
        values["queue"] = queue
    if key is not None:
        if len(key) != len(order.fields):
            raise ConfigError(f"after: {key!r} is no place among the jobs that are {state.value}")
        values.update(zip(order.fields, key, strict=True))
        marks = ("%(queue)b" if field == "queue" else f"%({field})s" for field in order.fields)
        conditions.append(f"({order.columns}) > ({', '.join(marks)})")
        if "queue" in order.fields:
            values["queue"] = bytes.fromhex(key[0])
    sql = f"{order.select} WHERE {' AND '.join(conditions)} ORDER BY {order.columns} LIMIT %(limit)s"
    return [JobRow(*row) for row in tx.run(sql, **values).fetchall()]


def _ended(tx: Transaction, state: State, queue: bytes | None, key: list[Any] | None, limit: int) -> list[JobRow]:
    """The newest first; of all queues the newest of each, merged."""
    queues = [queue]
    if queue is None:
        queues = [name for name, its, _ in tx.run(COUNTS).fetchall() if its == state.value]
    before, place = (1 << 62, 0) if key is None else (int(key[0]), int(key[1]))
    places: list[tuple[int, int, bytes]] = []
    for name in queues:
        sql = (
            "SELECT n, place, queue FROM @.ended WHERE state = %(state)s AND queue = %(queue)b "
            "AND (n, place) < (%(n)s, %(place)s) ORDER BY state DESC, queue DESC, n DESC, place DESC LIMIT %(limit)s"
        )
        places += tx.run(sql, state=state.value, queue=name, n=before, place=place, limit=limit).fetchall()
    newest = sorted(places, reverse=True)[:limit]
    chosen = [place for _, place, _ in newest]
    rows = tx.run(f"{_ENDED} WHERE t.place = ANY (%(places)b::bigint[])", places=chosen).fetchall()
    by_place = {row[1]: JobRow(*row) for row in rows}
    return [by_place[place] for place in chosen]


def _cursor(state: State, row: JobRow) -> str:
    if state.ended:
        return msgspec.json.encode([row.key, row.place]).decode()
    values = [getattr(row, field) for field in _ORDERS[state].fields]
    return msgspec.json.encode([each.hex() if isinstance(each, bytes) else each for each in values]).decode()


def _position(after: str | None) -> list[Any] | None:
    if after is None:
        return None
    try:
        position = msgspec.json.decode(after, type=list[str | int | float])
        if position and isinstance(position[0], str):
            bytes.fromhex(position[0])
    except (msgspec.MsgspecError, ValueError):
        position = []
    if not position:
        raise ConfigError(f"after: {after!r} is no page's `after`")
    return position
