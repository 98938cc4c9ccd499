"""An operator's changes: jobs are cancelled, revived and deleted, many by a few statements."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from longboat.brokers.postgres import prune, views
from longboat.brokers.postgres.ending import EndedJob, appended, cancelled_kept, end, forget
from longboat.brokers.postgres.moving import make_ready
from longboat.brokers.postgres.names import name_of
from longboat.brokers.postgres.sweep import remove
from longboat.brokers.postgres.transaction import Transaction
from longboat.core.job import Failure, State
from longboat.core.reasons import CANCELLED

_TABLES = {State.READY: ("ready",), State.SCHEDULED: ("delayed",), State.WAITING: views.WAITING}
_KEYS = {
    "ready": "queue, rank, place",
    "delayed": "due, place",
    "parked": "task, queue, rank, place",
    "pending": "queue, place",
    "lined": "queue, place",
}

_LOOKS = 3
"""A job may go from one table to another while it is looked for."""


def cancel(tx: Transaction, ids: Sequence[str]) -> set[str]:
    """The ids of those on which it had an effect."""
    affected: set[str] = set()
    left = set(ids)
    for _ in range(_LOOKS):
        by_table: defaultdict[tuple[str, State], list[views.JobRow]] = defaultdict(list)
        for row in views.find(tx, sorted(left)).values():
            by_table[row.table, State(row.state)].append(row)
        for (table, state), rows in by_table.items():
            rows.sort(key=lambda row: row.place)
            seen, done = _cancel(tx, table, state, rows)
            left -= seen
            affected |= done
        if not left or not by_table:
            break
    return affected


def _cancel(tx: Transaction, table: str, state: State, rows: Sequence[views.JobRow]) -> tuple[set[str], set[str]]:
    """(ids of those that were still there, of those on which it had an effect)"""
    if state.ended:
        return _ids(rows), set()
    if state is State.RUNNING:
        return _ask(tx, rows)
    places = {old.place for old in remove(tx, table, rows)}
    gone = [row for row in rows if row.place in places]
    endings = []
    for row in gone:
        tx.count(row.queue, state, -1)
        job = views.decoded(row.body)
        failure = Failure(CANCELLED, "the job was cancelled before it started", "", row.attempts, tx.now)
        keep = cancelled_kept(job.keep if job else 0)
        endings.append(EndedJob(row.place, row.queue, None, row.attempts, appended(row.failures, failure), keep))
    end(tx, State.CANCELLED, endings)
    return _ids(gone), _ids(gone)


def _ask(tx: Transaction, rows: Sequence[views.JobRow]) -> tuple[set[str], set[str]]:
    """Of running jobs the cancellation is asked for. As `_cancel`."""
    by_token = {row.key: row for row in rows}
    asked = tx.run(
        "UPDATE @.leased AS l SET cancel = TRUE FROM (SELECT token, cancel FROM @.leased "
        "WHERE token = ANY (%(tokens)b::bigint[]) ORDER BY token FOR UPDATE) AS old "
        "WHERE l.token = old.token RETURNING l.token, old.cancel",
        tokens=sorted(by_token),
    ).fetchall()
    tx.tell("c")
    return _ids(by_token[token] for token, _ in asked), _ids(by_token[token] for token, was in asked if not was)


def _ids(rows: Iterable[views.JobRow]) -> set[str]:
    return {name_of(row.id or b"") for row in rows}


class _Retried(NamedTuple):
    """A row of `ready`."""

    place: int
    queue: bytes
    rank: int
    failures: bytes | None
    attempts: int = 0
    worker_deaths: int = 0
    expires_at: float | None = None


def retry(tx: Transaction, ids: Sequence[str]) -> set[str]:
    """The ids of those that were dead, and are ready now."""
    rows = tx.run(
        "WITH gone AS MATERIALIZED (DELETE FROM @.ended WHERE ctid = ANY (ARRAY(SELECT ctid FROM @.ended "
        "WHERE place = ANY (%(places)b::bigint[]) AND state = 'dead' ORDER BY place FOR UPDATE)) RETURNING place, failures) "
        "SELECT j.id, g.place, j.queue, j.rank, g.failures FROM gone AS g "
        "CROSS JOIN LATERAL (SELECT id, queue, rank FROM @.jobs WHERE place = g.place OFFSET 0) AS j ORDER BY g.place",
        places=[row.place for row in views.find(tx, ids).values() if row.state == State.DEAD.value],
    ).fetchall()
    back = [_Retried(*row) for _, *row in rows]
    for row in back:
        tx.count(row.queue, State.DEAD, -1)
    make_ready(tx, back)
    return {name_of(stored) for stored, *_ in rows}


def purge(tx: Transaction, states: Collection[State], queue: str | None, limit: int) -> int:
    """Delete up to `limit` jobs in these states; returns how many."""
    count = 0
    for name, state, _ in tx.run(prune.COUNTS).fetchall():
        if State(state) in states and state != "running" and queue in (None, name_of(name)) and count < limit:
            count += _purge(tx, State(state), name, limit - count)
    return count


def _purge(tx: Transaction, state: State, queue: bytes, limit: int) -> int:
    if state.ended:
        return prune.delete_ended(tx, state, queue, limit)
    count = 0
    for table in _TABLES[state]:
        count += _purge_table(tx, table, state, queue, limit - count)
    return count


def _purge_table(tx: Transaction, table: str, state: State, queue: bytes, limit: int) -> int:
    rows = tx.run(
        f"DELETE FROM @.{table} WHERE ctid = ANY (ARRAY(SELECT ctid FROM @.{table} WHERE queue = %(queue)b "
        f"ORDER BY {_KEYS[table]} LIMIT %(limit)s FOR UPDATE SKIP LOCKED)) RETURNING place",
        queue=queue,
        limit=limit,
    ).fetchall()
    forget(tx, [place for (place,) in rows], [None] * len(rows))
    tx.count(queue, state, -len(rows))
    return len(rows)
