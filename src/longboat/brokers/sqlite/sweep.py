"""What time does to jobs: consumers lapse, delays and patience end, limits open, and what has expired is cancelled."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from longboat.brokers.sqlite import limits, rows
from longboat.brokers.sqlite.ending import EndedJob, appended, end, end_unleased
from longboat.brokers.sqlite.rows import COLUMNS, PAST, PLACE, Row
from longboat.brokers.sqlite.store import Transaction
from longboat.core import codec, reasons
from longboat.core.job import Failure, State

CHUNK = 1000
"""Rows moved in one transaction, at most."""


class Swept(NamedTuple):
    """What a sweep did."""

    returned: int
    """Jobs that consumers may want now."""
    ended: int
    more: bool
    """There is more than one transaction should hold."""


def sweep(tx: Transaction, besides: int = 0) -> Swept:
    """Everything that is due by now. `besides`: the consumer that sweeps; it lives, whatever its deadline says."""
    returned = 0
    for n, consumer_id, name in tx.run(
        "SELECT n, id, name FROM longboat_consumers WHERE deadline <= ? AND n <> ? LIMIT 100", (tx.now, besides)
    ).fetchall():
        returned += end_consumer(tx, n, reasons.worker_died(name or consumer_id, tx.now))
    due = _start_due(tx) + limits.open_due(tx, CHUNK)
    expired = sum(_expire(tx, state) for state in rows.UNLEASED)
    unknown = _end_patience(tx)
    return Swept(returned + due, expired + unknown, max(due, expired, unknown) >= CHUNK)


def end_consumer(tx: Transaction, consumer: int, failure: Failure | None) -> int:
    """The consumer is over: its jobs come back, or are cancelled where that was requested. Returns how many it held.

    With a failure it died: the attempts it had started count, and the `worker_deaths` of all go up.
    """
    died = failure is not None
    back = f"INSERT OR IGNORE INTO longboat_ready SELECT {PLACE}"
    theirs = "FROM longboat_leased WHERE consumer = ? AND NOT cancelled"
    held = tx.run("SELECT queue, count(*) FROM longboat_leased WHERE consumer = ? GROUP BY queue", (consumer,)).fetchall()
    for queue, count in held:
        tx.count(queue, State.RUNNING, -count)
        tx.count(queue, State.READY, count)
    unstarted = "AND NOT started" if died else ""
    tx.run(f"{back}, attempts, worker_deaths + {died:d}, expires_at, failures {theirs} {unstarted}", (consumer,))
    if failure is not None:
        started = tx.run(f"SELECT {COLUMNS} {theirs} AND started", (consumer,)).fetchall()
        tx.db.executemany(
            "INSERT OR IGNORE INTO longboat_ready VALUES (?, ?, ?, ?, ?, ?, NULL, ?)",
            [
                (*row[:4], row.attempts + 1, row.worker_deaths + 1, appended(row.failures, _of(failure, row.attempts + 1)))
                for row in map(Row._make, started)
            ],
        )
    _cancel(tx, consumer, failure)
    limits.leave_all(tx, consumer)
    tx.run("DELETE FROM longboat_leased WHERE consumer = ?", (consumer,))
    tx.run("DELETE FROM longboat_consumers WHERE n = ?", (consumer,))
    return sum(count for _, count in held)


def _of(failure: Failure, attempt: int) -> Failure:
    return msgspec.structs.replace(failure, attempt=attempt)


def _cancel(tx: Transaction, consumer: int, failure: Failure | None) -> None:
    endings = []
    for queue, seq, job_id, since, attempts, failures, started in tx.run(
        "SELECT queue, seq, id, since, attempts, failures, started FROM longboat_leased WHERE consumer = ? AND cancelled",
        (consumer,),
    ).fetchall():
        if started and failure is not None:
            attempts += 1
            failures = appended(failures, _of(failure, attempts))
        failures = appended(failures, reasons.cancelled(tx.now, attempts))
        endings.append(EndedJob(queue, seq, job_id, since, attempts, failures))
        tx.count(queue, State.READY, -1)
    end(tx, State.CANCELLED, endings)


def _start_due(tx: Transaction) -> int:
    """The jobs whose delay is over are ready. Returns how many."""
    chosen = f"SELECT due, seq, id FROM longboat_scheduled WHERE due <= ? ORDER BY due, seq, id LIMIT {CHUNK}"
    last = tx.run(f"SELECT due, seq, id FROM ({chosen}) ORDER BY due DESC, seq DESC, id DESC LIMIT 1", (tx.now,)).fetchone()
    if last is None:
        return 0
    moved = "FROM longboat_scheduled WHERE (due, seq, id) <= (?, ?, ?)"
    counts = tx.run(f"SELECT queue, count(*) {moved} GROUP BY queue", last).fetchall()
    tx.run(f"INSERT OR IGNORE INTO longboat_ready SELECT {PLACE}, {PAST} {moved}", last)
    tx.run(f"DELETE {moved}", last)
    for queue, count in counts:
        tx.count(queue, State.SCHEDULED, -count)
        tx.count(queue, State.READY, count)
    return sum(count for _, count in counts)


def _expire(tx: Transaction, state: State) -> int:
    sql = f"SELECT {COLUMNS} FROM longboat_{state.value} WHERE expires_at <= ? LIMIT {CHUNK}"
    expired = [Row(*row) for row in tx.run(sql, (tx.now,)).fetchall()]
    end_unleased(tx, state, expired, State.CANCELLED, lambda row: [reasons.expired(tx.now, row.attempts)])
    return len(expired)


def _end_patience(tx: Transaction) -> int:
    """Parked jobs die that no worker came for in time."""
    sql = f"SELECT {COLUMNS}, reason FROM longboat_waiting WHERE dead_at <= ? LIMIT {CHUNK}"
    why = {Row(*row): reason for *row, reason in tx.run(sql, (tx.now,)).fetchall()}
    end_unleased(tx, State.WAITING, list(why), State.DEAD, lambda row: codec.decode_failures(why[row]))
    return len(why)
