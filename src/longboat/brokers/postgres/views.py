"""Jobs as people see them: where a job is, and pages of each state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from longboat.brokers.postgres.names import name_of, raw
from longboat.brokers.postgres.rows import WAITING
from longboat.brokers.postgres.store import Transaction
from longboat.brokers.postgres.tidy import COUNTS
from longboat.contract.base_pages import Position, cursor_of, page_of, position_of, window
from longboat.core import codec
from longboat.core.job import State
from longboat.core.views import JobView, Page, job_or_none, job_view


class FoundJob(NamedTuple):
    """A job's row in whichever table it is, and its message."""

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


def _select(source: str, state: str, table: str, **columns: str) -> str:
    """SQL for the fields above, of rows `t`; `columns` are those that not every table has."""
    nulls = {"due": "float8", "started": "float8", "ended": "float8", "worker": "bytea", "result": "bytea"}
    rest = ", ".join(columns.get(name, f"NULL::{kind}") for name, kind in nulls.items())
    return (
        f"SELECT {state}, t.place, j.id, t.queue, {columns.get('rank', 't.rank')}, t.attempts, t.failures, j.body, {rest}, "
        f"{columns.get('key', '0::bigint')}, {table} FROM {source} AS t "
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
_SCHEDULED = _select("@.scheduled", "'scheduled'", "'scheduled'", due="t.due")
_ALL_WAITING = " UNION ALL ".join(
    f"SELECT place, queue, rank, attempts, failures, '{table}' AS source FROM @.{table}" for table in WAITING
)
_WAITING = _select(f"({_ALL_WAITING})", "'waiting'", "t.source")
_LEASED = _select("@.leased", "'running'", "'leased'", started="t.since", worker=_WORKER, key="t.token")
_ENDED = _select(
    "@.ended", "t.state", "'ended'", rank="0::bigint", started="t.started", ended="t.ended", result="t.result", key="t.n"
)


def find(tx: Transaction, ids: Sequence[str]) -> dict[str, FoundJob]:
    """Where the jobs with these ids are. Within one snapshot, or a job that moves between two tables is missed."""
    rows = tx.run(
        "SELECT place, id, queue, rank FROM @.jobs WHERE id = ANY (%(ids)b::bytea[]) AND body IS NOT NULL",
        ids=[raw(each) for each in ids],
    ).fetchall()
    if not rows:
        return {}
    places, _, queues, ranks = (list(each) for each in zip(*rows, strict=True))
    found: dict[str, FoundJob] = {}
    for select in (_LEASED, _ENDED, _SCHEDULED, _WAITING):
        for row in tx.run(f"{select} WHERE t.place = ANY (%(places)b::bigint[])", places=places).fetchall():
            found[name_of(row[2])] = FoundJob(*row)
    if len(found) < len(rows):
        for row in tx.run(_READY_AT, places=places, queues=queues, ranks=ranks).fetchall():
            found.setdefault(name_of(row[2]), FoundJob(*row))
    return found


def view(row: FoundJob) -> JobView:
    return job_view(
        job_or_none(row.body),
        row.body,
        id=name_of(row.id or b""),
        state=State(row.state),
        queue=name_of(row.queue),
        attempts=row.attempts,
        failures=codec.decode_failures(row.failures),
        priority=-row.rank,
        due=row.due,
        started=row.started,
        ended=row.ended,
        worker=None if row.worker is None else name_of(row.worker),
        result=row.result,
    )


class _PageOrder(NamedTuple):
    """How the jobs of a state are paged through."""

    select: str
    fields: tuple[str, ...]
    kinds: tuple[type[str] | type[int] | type[float], ...]

    def cursor(self, row: FoundJob) -> str:
        return cursor_of(*(row.queue.hex() if field == "queue" else getattr(row, field) for field in self.fields))


_ORDERS = {
    State.READY: _PageOrder(_READY, ("queue", "rank", "place"), (str, int, int)),
    State.SCHEDULED: _PageOrder(_SCHEDULED, ("due", "place"), (float, int)),
    State.WAITING: _PageOrder(_WAITING, ("place",), (int,)),
    State.RUNNING: _PageOrder(_LEASED, ("place",), (int,)),
}
_ENDED_ORDER = _PageOrder(_ENDED, ("key", "place"), (int, int))


def page(tx: Transaction, state: State, queue: str | None, task: str | None, after: str | None, limit: int) -> Page:
    """See Inspector.jobs."""
    order = _ORDERS.get(state, _ENDED_ORDER)
    position = position_of(after, *order.kinds)
    its = None if queue is None else raw(queue)
    if state.ended:
        rows = _ended(tx, state, its, position, window(limit, task) + 1)
    else:
        rows = _rows(tx, order, its, position, window(limit, task) + 1)
    return page_of(rows, limit, task, view, order.cursor)


def _rows(tx: Transaction, order: _PageOrder, queue: bytes | None, position: Position | None, limit: int) -> list[FoundJob]:
    columns = ", ".join(f"t.{field}" for field in order.fields)
    conditions = ["TRUE"]
    values: dict[str, Any] = {"limit": limit, "of": queue}
    if queue is not None:
        conditions.append("t.queue = %(of)b::bytea")
    if position is not None:
        places = dict(zip(order.fields, position, strict=True))
        values.update({name: bytes.fromhex(str(place)) if name == "queue" else place for name, place in places.items()})
        marks = ", ".join("%(queue)b::bytea" if field == "queue" else f"%({field})s" for field in order.fields)
        conditions.append(f"({columns}) > ({marks})")
    sql = f"{order.select} WHERE {' AND '.join(conditions)} ORDER BY {columns} LIMIT %(limit)s"
    return [FoundJob(*row) for row in tx.run(sql, **values).fetchall()]


def _ended(tx: Transaction, state: State, queue: bytes | None, position: Position | None, limit: int) -> list[FoundJob]:
    """The newest first; of all queues the newest of each, merged."""
    queues = [queue]
    if queue is None:
        queues = [name for name, its, _ in tx.run(COUNTS).fetchall() if its == state.value]
    before, place = position or (1 << 62, 0)
    places: list[tuple[int, int]] = []
    for name in queues:
        sql = (
            "SELECT n, place FROM @.ended WHERE state = %(state)s AND queue = %(queue)b "
            "AND (n, place) < (%(n)s, %(place)s) ORDER BY state DESC, queue DESC, n DESC, place DESC LIMIT %(limit)s"
        )
        places += tx.run(sql, state=state.value, queue=name, n=before, place=place, limit=limit).fetchall()
    newest = [place for _, place in sorted(places, reverse=True)[:limit]]
    rows = tx.run(f"{_ENDED} WHERE t.place = ANY (%(places)b::bigint[])", places=newest).fetchall()
    by_place = {row[1]: FoundJob(*row) for row in rows}
    return [by_place[place] for place in newest]
