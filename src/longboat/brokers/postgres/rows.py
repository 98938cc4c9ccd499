"""Rows of jobs on their way: taken out of one table, inserted into another; how jobs end and how they are forgotten."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from longboat.brokers.postgres.floors import LOOK
from longboat.brokers.postgres.store import Transaction
from longboat.contract.broker import FORGOTTEN_AFTER
from longboat.core import codec
from longboat.core.job import DEFAULT_KEEP, FAILURES_KEPT, Failure, State
from longboat.core.views import job_or_none

FIELDS = "place, queue, rank, attempts, worker_deaths, expires_at, failures"
"""The columns that all tables of jobs that have not ended have in common."""

_TYPES = {
    **dict.fromkeys(("place", "rank", "token", "child", "parent"), "bigint"),
    **dict.fromkeys(("attempts", "worker_deaths", "missing", "n", "running", "starts"), "int"),
    **dict.fromkeys(("expires_at", "due", "delay", "dead_at", "per", "at", "until"), "float8"),
    **dict.fromkeys(("chosen", "limited"), "boolean"),
}
"""Of columns; the others are bytea."""

WAITING = ("parked", "dependent", "blocked")
"""Tables of jobs that wait for something other than time."""
STATES = {"ready": State.READY, "scheduled": State.SCHEDULED, "leased": State.RUNNING} | dict.fromkeys(
    WAITING, State.WAITING
)
QUEUED = ("ready", "scheduled", *WAITING)

WALL = "extract(epoch FROM clock_timestamp())::float8"
"""SQL: the server's time even where a clock was given."""

_PLACES_PER_PAYLOAD = 400
"""PostgreSQL allows notifications of 8000 bytes."""


class JobRow(NamedTuple):
    """FIELDS of a job that has not ended."""

    place: int
    queue: bytes
    rank: int
    attempts: int = 0
    worker_deaths: int = 0
    expires_at: float | None = None
    failures: bytes | None = None


class Ending(NamedTuple):
    """A job that ends; its row has been taken."""

    row: JobRow
    keep: float
    """Seconds that it stays readable."""
    since: float | None = None
    """When it was leased."""
    result: bytes | None = None


# --- from table to table


def take(tx: Transaction, table: str, found: str, more: str = "", /, **values: Any) -> list[tuple[Any, ...]]:
    """Delete rows of the table; returns of each its JobRow and the further columns that `more` names.

    `found` selects their ctid, and must lock them: rows that change meanwhile would be missed.
    """
    taken = tx.run(
        f"DELETE FROM @.{table} WHERE ctid = ANY (ARRAY({found})) RETURNING {FIELDS}{', ' if more else ''}{more}", **values
    ).fetchall()
    rows = [(JobRow(*row[:7]), *row[7:]) for row in taken]
    for row, *_ in rows:
        tx.count(row.queue, STATES[table], -1)
    return rows


def at_places(table: str, what: str, lock: str, but: str = "") -> str:
    """SQL: `what` of the jobs at these %(places), of these %(queues) and %(ranks), locked in one order."""
    if table == "ready":
        return (
            f"SELECT r.{what} FROM unnest(%(places)b::bigint[], %(queues)b::bytea[], %(ranks)b::bigint[]) "
            f"AS g (place, queue, rank) CROSS JOIN LATERAL (SELECT {what} FROM @.ready "
            f"WHERE queue = g.queue AND rank = g.rank AND place = g.place OFFSET 0 {lock}) AS r"
        )
    return f"SELECT {what} FROM @.{table} WHERE place = ANY (%(places)b::bigint[]) {but} ORDER BY place {lock}"


def places_of(rows: Iterable[Any]) -> dict[str, list[Any]]:
    """The values of `at_places`."""
    rows = sorted(rows, key=lambda row: row.place)
    return {
        "places": [row.place for row in rows],
        "queues": [row.queue for row in rows],
        "ranks": [row.rank for row in rows],
    }


def take_these(tx: Transaction, table: str, rows: Iterable[Any]) -> list[JobRow]:
    """Take these jobs (place, queue, rank): those that are still in the table."""
    return [row for (row,) in take(tx, table, at_places(table, "ctid", "FOR UPDATE"), **places_of(rows))]


def insert(tx: Transaction, table: str, rows: Sequence[JobRow], **more: Sequence[Any]) -> None:
    """Insert these jobs, with the further columns of that table. Those who wait are notified, except of jobs that wait."""
    if not rows:
        return
    columns = dict(zip(JobRow._fields, zip(*rows, strict=True), strict=True))
    limited = {"limited": "(SELECT limited FROM @.jobs WHERE place = g.place)"} if table == "ready" else {}
    insert_values(tx, table, {**columns, **more}, looked_up=limited)
    for row in rows:
        tx.count(row.queue, STATES[table], 1)
    if table == "ready":
        tx.notify_ready(min(row.place for row in rows))
    elif table not in ("dependent", "blocked"):
        tx.notify(LOOK)


def insert_values(
    tx: Transaction,
    table: str,
    columns: Mapping[str, Sequence[Any]],
    looked_up: Mapping[str, str] = {},
    rest: str = "",
    **values: Any,
) -> Any:
    """INSERT these columns, and those that are `looked_up` by SQL for each row `g`; then the `rest`, with its `values`."""
    names, lists = ", ".join(columns), ", ".join(f"%({name})b::{_TYPES.get(name, 'bytea')}[]" for name in columns)
    return tx.run(
        f"INSERT INTO @.{table} AS t ({', '.join([*columns, *looked_up])}) "
        f"SELECT {', '.join(['g.*', *looked_up.values()])} FROM unnest({lists}) AS g ({names}) {rest}",
        **{name: list(column) for name, column in columns.items()},
        **values,
    )


def enqueue(tx: Transaction, rows: Sequence[tuple[JobRow, float]]) -> None:
    """Jobs, each with its delay, become ready or scheduled."""
    insert(tx, "ready", [row for row, delay in rows if delay <= 0])
    later = [(row, tx.now + delay) for row, delay in rows if delay > 0]
    insert(tx, "scheduled", [row for row, _ in later], due=[due for _, due in later])


def delete_some(tx: Transaction, table: str, which: str, limit: int, **values: Any) -> int:
    """Delete up to `limit` rows, without those that another transaction has locked; returns how many."""
    sql = (
        f"DELETE FROM @.{table} WHERE ctid = ANY (ARRAY(SELECT ctid FROM @.{table} WHERE {which} "
        "LIMIT %(limit)s FOR UPDATE SKIP LOCKED))"
    )
    return int(tx.run(sql, limit=limit, **values).rowcount)


# --- how jobs end


def end(tx: Transaction, state: State, endings: Iterable[Ending]) -> None:
    groups: defaultdict[tuple[bytes, float], list[Ending]] = defaultdict(list)
    for ending in endings:
        groups[ending.row.queue, ending.keep].append(ending)
    if state is not State.DEAD:  # the dead may be retried
        drop_dependencies(tx, [ending.row.place for group in groups.values() for ending in group])
    for (queue, keep), group in groups.items():
        tx.run(
            """
            WITH e AS MATERIALIZED (SELECT nextval('@.endings') AS n),
            kept AS (INSERT INTO @.retention SELECT %(until)s, %(state)s, %(queue)b, n FROM e)
            INSERT INTO @.ended
            SELECT %(state)s, %(queue)b, e.n, g.place, %(at)s, g.started, g.attempts, g.failures, g.result
            FROM e, unnest(%(places)b::bigint[], %(starts)b::float8[], %(attempts)b::int[], %(failures)b::bytea[],
                %(results)b::bytea[]) AS g (place, started, attempts, failures, result)""",
            until=tx.now + keep,
            at=tx.now,
            state=state.value,
            queue=queue,
            places=[each.row.place for each in group],
            starts=[each.since for each in group],
            attempts=[each.row.attempts for each in group],
            failures=[each.row.failures for each in group],
            results=[each.result for each in group],
        )
        tx.count(queue, state, len(group))
        _notify_ended(tx, [each.row.place for each in group])


def end_cancelled(
    tx: Transaction, rows: Sequence[tuple[JobRow, float | None]], reason: Callable[[float, int], Failure]
) -> None:
    """Jobs, each with the time when it was leased, end as cancelled for this reason (of the time and the attempts made)."""
    if not rows:
        return
    found = tx.run(
        "SELECT place, body FROM @.jobs WHERE place = ANY (%(places)b::bigint[])", places=[row.place for row, _ in rows]
    )
    jobs = {place: job_or_none(body) for place, body in found.fetchall()}
    endings = []
    for row, since in rows:
        row = row._replace(failures=appended(row.failures, reason(tx.now, row.attempts)))
        job = jobs.get(row.place)
        endings.append(Ending(row, cancelled_kept(job.keep if job else DEFAULT_KEEP), since))
    end(tx, State.CANCELLED, endings)


def _notify_ended(tx: Transaction, places: Sequence[int]) -> None:
    if not tx.run(f"SELECT EXISTS (SELECT 1 FROM @.listeners WHERE until > {WALL})").fetchone()[0]:
        return
    for start in range(0, len(places), _PLACES_PER_PAYLOAD):
        tx.notify("e" + ",".join(map(str, places[start : start + _PLACES_PER_PAYLOAD])))


def forget(tx: Transaction, places: Sequence[int], at: Sequence[float | None] = ()) -> None:
    """Delete messages. Ids that callers chose stay remembered for a while after `at`, when each job ended (None: now)."""
    if not places:
        return
    drop_dependencies(tx, places)
    tx.run(
        """
        UPDATE @.jobs AS j SET body = NULL, until = coalesce(g.at, %(at)s) + %(after)s
        FROM unnest(%(places)b::bigint[], %(ats)b::float8[]) AS g (place, at) WHERE j.place = g.place AND j.chosen""",
        places=list(places),
        ats=list(at) or [None] * len(places),
        at=tx.now,
        after=FORGOTTEN_AFTER,
    )
    tx.run("DELETE FROM @.jobs WHERE place = ANY (%(places)b::bigint[]) AND NOT chosen", places=list(places))


def drop_dependencies(tx: Transaction, places: Sequence[int]) -> None:
    """These jobs depend on no others any more."""
    if places:
        tx.run(
            "DELETE FROM @.dependencies WHERE child = ANY (%(places)b::bigint[]) "
            "AND (SELECT EXISTS (SELECT 1 FROM @.dependencies))",
            places=list(places),
        )


def appended(failures: bytes | None, *more: Failure) -> bytes | None:
    """The recorded failures with these: the newest FAILURES_KEPT."""
    if not more:
        return failures
    return codec.encode_failures([*codec.decode_failures(failures), *more][-FAILURES_KEPT:])


def cancelled_kept(keep: float) -> float:
    """`keep` is meant for successes: a cancelled job stays readable even where no results are kept."""
    return keep or DEFAULT_KEEP
