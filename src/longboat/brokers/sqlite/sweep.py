"""Housekeeping: jobs of consumers that ended come back, delays and patience run out, what has expired is cancelled."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from longboat.brokers.sqlite import limits
from longboat.brokers.sqlite.ending import EndedJob, appended, end, keep_of
from longboat.brokers.sqlite.store import Transaction
from longboat.contract.broker import DEAD_KEPT
from longboat.core import codec
from longboat.core.job import Failure, State
from longboat.core.reasons import CANCELLED, EXPIRED, WORKER_DIED

CHUNK = 1000
"""Rows moved in one transaction, at most."""

_MOVED = "queue, rank, seq, id, attempts, returns, expires_at, failures"


class SweepNeeds(NamedTuple):
    """What sweeping did."""

    returned: int
    """Jobs that consumers may want now."""
    ended: int
    more: bool
    """There was more than one transaction should hold."""


def sweep(tx: Transaction, besides: int = 0) -> SweepNeeds:
    """Everything that is due by now. `besides`: the consumer that sweeps; it lives, whatever its deadline says."""
    returned = 0
    for n, consumer_id, name in tx.run(
        "SELECT n, id, name FROM consumers WHERE deadline <= ? AND n <> ? LIMIT 100", (tx.now, besides)
    ).fetchall():
        worker = name or consumer_id
        failure = Failure(WORKER_DIED, f"worker {worker} was not heard of in time", at=tx.now, worker=worker)
        returned += end_consumer(tx, n, failure)
    due = _due(tx) + limits.open_due(tx, CHUNK)
    expired = sum(_expire(tx, table, state) for table, state in _EXPIRING)
    unknown = _lose_patience(tx)
    return SweepNeeds(returned + due, expired + unknown, due >= CHUNK or expired >= CHUNK or unknown >= CHUNK)


def end_consumer(tx: Transaction, consumer: int, failure: Failure | None) -> int:
    """The consumer is over: its jobs come back, or are cancelled where that was asked for. Returns how many it held.

    With a failure, those it had started are charged, and the `returns` of all go up; without one nothing is charged.
    """
    back = "INSERT OR IGNORE INTO ready SELECT queue, rank, seq, id"
    theirs = "FROM leased WHERE consumer = ? AND NOT cancel"
    held = tx.run("SELECT queue, count(*) FROM leased WHERE consumer = ? GROUP BY queue", (consumer,)).fetchall()
    for queue, count in held:
        tx.count(queue, State.RUNNING, -count)
        tx.count(queue, State.READY, count)
    if failure is None:
        tx.run(f"{back}, attempts, returns, expires_at, failures {theirs}", (consumer,))
    else:
        tx.run(f"{back}, attempts, returns + 1, expires_at, failures {theirs} AND NOT started", (consumer,))
        rows = tx.run(
            f"SELECT queue, rank, seq, id, attempts + 1, returns + 1, failures {theirs} AND started", (consumer,)
        ).fetchall()
        tx.db.executemany(
            "INSERT OR IGNORE INTO ready VALUES (?, ?, ?, ?, ?, ?, NULL, ?)",
            [(*row[:6], appended(row[6], _at_attempt(failure, row[4]))) for row in rows],
        )
    _cancel(tx, consumer, failure)
    limits.leave_all(tx, consumer)
    tx.run("DELETE FROM leased WHERE consumer = ?", (consumer,))
    tx.run("DELETE FROM consumers WHERE n = ?", (consumer,))
    return sum(count for _, count in held)


def _at_attempt(failure: Failure, attempt: int) -> Failure:
    return msgspec.structs.replace(failure, attempt=attempt)


def _cancel(tx: Transaction, consumer: int, failure: Failure | None) -> None:
    rows = tx.run(
        "SELECT queue, seq, id, since, attempts, failures, started FROM leased WHERE consumer = ? AND cancel", (consumer,)
    ).fetchall()
    endings = []
    for queue, seq, job_id, since, attempts, failures, started in rows:
        if started and failure is not None:
            attempts += 1
            failures = appended(failures, _at_attempt(failure, attempts))
        failures = appended(failures, Failure(CANCELLED, "its cancellation was asked for", at=tx.now))
        endings.append(EndedJob(queue, seq, job_id, since, attempts, failures, keep_of(tx, seq, job_id)))
        tx.count(queue, State.READY, -1)
    end(tx, State.CANCELLED, endings)


def _due(tx: Transaction) -> int:
    """Delays that are over. Returns how many."""
    chosen = f"SELECT due, seq, id FROM delayed WHERE due <= ? ORDER BY due, seq, id LIMIT {CHUNK}"
    last = tx.run(f"SELECT due, seq, id FROM ({chosen}) ORDER BY due DESC, seq DESC, id DESC LIMIT 1", (tx.now,)).fetchone()
    if last is None:
        return 0
    moved = "FROM delayed WHERE (due, seq, id) <= (?, ?, ?)"
    counts = tx.run(f"SELECT queue, count(*) {moved} GROUP BY queue", last).fetchall()
    tx.run(f"INSERT OR IGNORE INTO ready SELECT {_MOVED} {moved}", last)
    tx.run(f"DELETE {moved}", last)
    for queue, count in counts:
        tx.count(queue, State.SCHEDULED, -count)
        tx.count(queue, State.READY, count)
    return sum(count for _, count in counts)


_EXPIRING = (("ready", State.READY), ("delayed", State.SCHEDULED), ("parked", State.WAITING))


def _expire(tx: Transaction, table: str, state: State) -> int:
    rows = tx.run(f"SELECT * FROM (SELECT {_MOVED} FROM {table} WHERE expires_at <= ? LIMIT {CHUNK})", (tx.now,)).fetchall()
    endings = []
    for queue, rank, seq, job_id, attempts, _, _, failures in rows:
        remove(tx, table, queue, rank, seq, job_id)
        tx.count(queue, state, -1)
        failure = Failure(EXPIRED, "the job expired before it started", "", attempts, tx.now)
        endings.append(EndedJob(queue, seq, job_id, None, attempts, appended(failures, failure), keep_of(tx, seq, job_id)))
    end(tx, State.CANCELLED, endings)
    return len(rows)


def remove(tx: Transaction, table: str, queue: str, rank: int, seq: int, id: str) -> int:
    """Delete the job's row in `ready`, `delayed` or `parked`; returns how many there were."""
    where = "queue = :queue AND rank = :rank AND seq = :seq AND id = :id" if table == "ready" else "seq = :seq AND id = :id"
    return tx.run(f"DELETE FROM {table} WHERE {where}", {"queue": queue, "rank": rank, "seq": seq, "id": id}).rowcount


def _lose_patience(tx: Transaction) -> int:
    rows = tx.run(
        f"SELECT queue, rank, seq, id, attempts, failures, reason FROM parked WHERE dead_at <= ? LIMIT {CHUNK}", (tx.now,)
    ).fetchall()
    endings = []
    for queue, rank, seq, job_id, attempts, failures, reason in rows:
        remove(tx, "parked", queue, rank, seq, job_id)
        tx.count(queue, State.WAITING, -1)
        for failure in codec.decode_failures(reason):
            failures = appended(failures, failure)
        endings.append(EndedJob(queue, seq, job_id, None, attempts, failures, DEAD_KEPT))
    end(tx, State.DEAD, endings)
    return len(rows)
