"""Housekeeping: jobs of consumers that ended come back, delays and patience run out, what has expired is cancelled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from longboat.brokers.postgres import limits
from longboat.brokers.postgres.ending import EndedJob, appended, end, keeps
from longboat.brokers.postgres.moving import FIELDS, make_ready
from longboat.brokers.postgres.names import name_of
from longboat.brokers.postgres.settle import asked_for
from longboat.brokers.postgres.transaction import Transaction
from longboat.contract.broker import DEAD_KEPT
from longboat.core import codec
from longboat.core.job import DEFAULT_KEEP, Failure, State
from longboat.core.reasons import EXPIRED, WORKER_DIED

CHUNK = 500
"""Rows moved in one transaction, at most."""


class _ReturningRow(NamedTuple):
    """What the tables that jobs wait in have in common."""

    place: int
    queue: bytes
    rank: int
    attempts: int
    worker_deaths: int
    expires_at: float | None
    failures: bytes | None


class _Held(NamedTuple):
    place: int
    queue: bytes
    rank: int
    attempts: int
    worker_deaths: int
    expires_at: float | None
    failures: bytes | None
    started: bool
    cancel: bool
    since: float
    token: int


def sweep(tx: Transaction, besides: int = 0) -> bool:
    """Everything that is due by now; whether there is more. `besides`: who sweeps lives, whatever its deadline."""
    for n, consumer_id, name in tx.run(
        "SELECT n, id, name FROM @.consumers WHERE deadline <= %(at)s AND n <> %(besides)s "
        "ORDER BY n LIMIT 20 FOR UPDATE SKIP LOCKED",
        at=tx.now,
        besides=besides,
    ).fetchall():
        worker = name_of(name) or consumer_id
        end_consumer(tx, n, Failure(WORKER_DIED, f"worker {worker} was not heard of in time", at=tx.now, worker=worker))
    limits.due(tx)
    most = max(_due(tx), *(_expire(tx, table, state) for table, state in _EXPIRING), _lose_patience(tx))
    return most >= CHUNK


def end_consumer(tx: Transaction, consumer: int, failure: Failure | None) -> int:
    """The consumer is over: its jobs come back, or are cancelled where that was asked for. Returns how many it held.

    With a failure, those it had started are charged, and the `returns` of all go up; without one nothing is charged.
    """
    gone = tx.run("DELETE FROM @.consumers WHERE n = %(n)s RETURNING n", n=consumer).fetchone()
    return give_back(tx, "consumer = %(consumer)s", failure, consumer=consumer) if gone else 0


def give_back(tx: Transaction, which: str, failure: Failure | None, **values: Any) -> int:
    """End the leases that the condition names. The caller holds their consumer's row."""
    sql = f"DELETE FROM @.leased WHERE {which} RETURNING {FIELDS}, started, cancel, since, token"
    rows = sorted(_Held(*row) for row in tx.run(sql, **values).fetchall())
    back: list[_Held] = []
    cancelled: list[_Held] = []
    for row in rows:
        tx.count(row.queue, State.RUNNING, -1)
        if failure is not None:
            row = _counted(row, failure)
        (cancelled if row.cancel else back).append(row)
    make_ready(tx, back)
    kept = keeps(tx, [row.place for row in cancelled])
    endings = []
    for row in cancelled:
        failures = appended(row.failures, asked_for(tx.now))
        keep = kept.get(row.place, DEFAULT_KEEP)
        endings.append(EndedJob(row.place, row.queue, row.since, row.attempts, failures, keep))
    end(tx, State.CANCELLED, endings)
    limits.leave(tx, [row.token for row in rows])
    return len(rows)


def _counted(row: _Held, failure: Failure) -> _Held:
    if not row.started:
        return row._replace(worker_deaths=row.worker_deaths + 1)
    attempts = row.attempts + 1
    failures = appended(row.failures, msgspec.structs.replace(failure, attempt=attempts))
    return row._replace(attempts=attempts, worker_deaths=row.worker_deaths + 1, expires_at=None, failures=failures)


def _taken(tx: Transaction, table: str, due: str, more: str = "") -> list[tuple[Any, ...]]:
    """Rows of the table that are due, no longer there; those that others hold are left to them."""
    taken: list[tuple[Any, ...]] = tx.run(
        f"DELETE FROM @.{table} WHERE ctid = ANY (ARRAY(SELECT ctid FROM @.{table} WHERE {due} <= %(at)s "
        f"ORDER BY {due} LIMIT {CHUNK} FOR UPDATE SKIP LOCKED)) RETURNING {FIELDS}{more}",
        at=tx.now,
    ).fetchall()
    return taken


def _due(tx: Transaction) -> int:
    """Delays that are over. Returns how many."""
    rows = [_ReturningRow(*row) for row in _taken(tx, "delayed", "due")]
    for row in rows:
        tx.count(row.queue, State.SCHEDULED, -1)
    make_ready(tx, rows)
    return len(rows)


_EXPIRING = (
    ("ready", State.READY),
    ("delayed", State.SCHEDULED),
    ("parked", State.WAITING),
    ("pending", State.WAITING),
    ("lined", State.WAITING),
)


def _expire(tx: Transaction, table: str, state: State) -> int:
    rows = [_ReturningRow(*row) for row in _taken(tx, table, "expires_at")]
    kept = keeps(tx, [row.place for row in rows])
    endings = []
    for row in rows:
        tx.count(row.queue, state, -1)
        failure = Failure(EXPIRED, "the job expired before it started", "", row.attempts, tx.now)
        keep = kept.get(row.place, DEFAULT_KEEP)
        endings.append(EndedJob(row.place, row.queue, None, row.attempts, appended(row.failures, failure), keep))
    end(tx, State.CANCELLED, endings)
    return len(rows)


def _lose_patience(tx: Transaction) -> int:
    rows = _taken(tx, "parked", "dead_at", ", reason")
    endings = []
    for *fields, reason in rows:
        row = _ReturningRow(*fields)
        tx.count(row.queue, State.WAITING, -1)
        endings.append(EndedJob(row.place, row.queue, None, row.attempts, _all(row.failures, reason), DEAD_KEPT))
    end(tx, State.DEAD, endings)
    return len(rows)


def _all(failures: bytes | None, reason: bytes) -> bytes | None:
    for failure in codec.decode_failures(reason):
        failures = appended(failures, failure)
    return failures


def remove(tx: Transaction, table: str, rows: Sequence[Any]) -> list[_ReturningRow]:
    """Take these jobs' rows (place, queue, rank) out of the table where they wait: those that are still there."""
    if table == "ready":
        found = (
            "SELECT r.ctid FROM unnest(%(places)b::bigint[], %(queues)b::bytea[], %(ranks)b::bigint[]) "
            "AS g (place, queue, rank) CROSS JOIN LATERAL (SELECT ctid FROM @.ready "
            "WHERE queue = g.queue AND rank = g.rank AND place = g.place OFFSET 0 FOR UPDATE) AS r"
        )
    else:
        found = f"SELECT ctid FROM @.{table} WHERE place = ANY (%(places)b::bigint[]) ORDER BY place FOR UPDATE"
    gone = tx.run(
        f"DELETE FROM @.{table} WHERE ctid = ANY (ARRAY({found})) RETURNING {FIELDS}",
        places=[row.place for row in rows],
        queues=[row.queue for row in rows],
        ranks=[row.rank for row in rows],
    ).fetchall()
    return [_ReturningRow(*row) for row in gone]
