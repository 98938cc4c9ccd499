"""Claiming: ready rows become leased ones, and their messages jobs."""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

import msgspec

from longboat.brokers.sqlite.ending import appended, take_numbers
from longboat.brokers.sqlite.following import give_inputs
from longboat.brokers.sqlite.limits import admit_or_block
from longboat.brokers.sqlite.rows import COLUMNS
from longboat.brokers.sqlite.store import Transaction
from longboat.contract.broker import DEAD_KEPT, Lease
from longboat.core import codec, reasons
from longboat.core.constraints import JobLimit
from longboat.core.job import MESSAGE_VERSION, Job, State
from longboat.errors import Undecodable

_CLAIM = f"""
    INSERT INTO longboat_leased (consumer, started, cancelled, since, {COLUMNS})
    SELECT ?, 0, 0, ?, {COLUMNS}
    FROM longboat_ready WHERE queue = ? ORDER BY rank, seq, id LIMIT ?"""
_LAST = "SELECT rank, seq, CAST(id AS BLOB) FROM longboat_leased WHERE token = ?"
_TAKEN = "DELETE FROM longboat_ready WHERE queue = ? AND (rank, seq, id) <= (?, ?, CAST(? AS TEXT))"
_BODY = "(SELECT message FROM longboat_jobs AS j WHERE j.seq = l.seq AND j.id = l.id)"
_TOGETHER = """
    SELECT json_group_array(l.id), CAST(group_concat(j.message, '') AS BLOB),
        total(l.attempts) + total(l.worker_deaths) + count(l.failures)
    FROM longboat_leased AS l CROSS JOIN longboat_jobs AS j ON j.seq = l.seq AND j.id = l.id WHERE l.token BETWEEN ? AND ?"""
_HISTORY = "SELECT attempts, worker_deaths, failures FROM longboat_leased WHERE token BETWEEN ? AND ? ORDER BY token"
_ONE_BY_ONE = f"""
    SELECT token, CAST(id AS BLOB), attempts, worker_deaths, failures, {_BODY}
    FROM longboat_leased AS l WHERE token BETWEEN ? AND ? ORDER BY token"""

_jobs = msgspec.msgpack.Decoder(list[Job])
_texts = msgspec.json.Decoder(list[str])
_ARRAY_OF = struct.Struct(">BI").pack
_ARRAY = 0xDD
"""Begins a msgpack array of up to 2**32 values: messages in a row become one list of jobs."""


BLOCKED_AT_ONCE = 500
"""Jobs that one claim may find blocked by limits, about: other writers wait meanwhile."""


class _Together(NamedTuple):
    """A batch, read in one step."""

    jobs: list[Job]
    has_history: bool


class Claimed(NamedTuple):
    leases: list[Lease]
    more: bool
    """So many were blocked that it did not look at all that are ready: claim again."""


def claim(tx: Transaction, consumer: int, queue: str, n: int) -> Claimed:
    """Lease up to `n` ready jobs of the queue to the consumer, in order. What cannot be decoded dies."""
    leases: list[Lease] = []
    full: set[JobLimit] = set()
    looked_at = 0
    while len(leases) < n:
        if looked_at >= n + BLOCKED_AT_ONCE:
            return Claimed(leases, more=True)
        wanted = n - len(leases)
        inserted = tx.run(_CLAIM, (consumer, tx.now, queue, wanted))
        count, last = inserted.rowcount, inserted.lastrowid
        if count <= 0 or last is None:
            break
        tx.run(_TAKEN, (queue, *tx.run(_LAST, (last,)).fetchone()))
        tx.count(queue, State.READY, -count)
        tx.count(queue, State.RUNNING, count)
        found = _leases(tx, queue, last - count + 1, last)
        if any(lease.job.constraints is not None for lease in found):
            found = admit_or_block(tx, queue, found, full)
            give_inputs(tx, found)
        leases += found
        looked_at += count
        if count < wanted:
            break
    return Claimed(leases, more=False)


def _leases(tx: Transaction, queue: str, first: int, last: int) -> list[Lease]:
    together = _together(tx, queue, first, last)
    if together is None:
        return _separate(tx, queue, first, last)
    if not together.has_history:
        return [Lease(job, 1, token) for token, job in enumerate(together.jobs, first)]
    history = tx.run(_HISTORY, (first, last)).fetchall()
    return [
        Lease(job, attempts + 1, token, worker_deaths, len(codec.decode_failures(failures)))
        for token, (job, (attempts, worker_deaths, failures)) in enumerate(zip(together.jobs, history, strict=True), first)
    ]


def _together(tx: Transaction, queue: str, first: int, last: int) -> _Together | None:
    """All at once; None where something is wrong with one of them, or they are too big for one value."""
    try:
        ids, bodies, history = tx.run(_TOGETHER, (first, last)).fetchone()
        jobs = _jobs.decode(_ARRAY_OF(_ARRAY, last - first + 1) + (bodies or b""))
        if [job.id for job in jobs] != _texts.decode(ids):
            return None
    except (msgspec.MsgspecError, ValueError, RecursionError, tx.db.DataError, tx.db.OperationalError):
        return None
    if any(job.v != MESSAGE_VERSION or job.queue != queue for job in jobs):
        return None
    return _Together(jobs, history > 0)


def _separate(tx: Transaction, queue: str, first: int, last: int) -> list[Lease]:
    leases = []
    for token, raw_id, attempts, worker_deaths, failures, body in tx.run(_ONE_BY_ONE, (first, last)).fetchall():
        try:
            job = _job(body, raw_id, queue)
        except Undecodable as error:
            _bury(tx, queue, token, error)
            continue
        leases.append(Lease(job, attempts + 1, token, worker_deaths, len(codec.decode_failures(failures))))
    return leases


def _job(body: Any, raw_id: bytes, queue: str) -> Job:
    if not isinstance(body, bytes):
        raise Undecodable("the message is missing")
    job = codec.decode_job(body)
    if job.id.encode(errors="surrogatepass") != raw_id or job.queue != queue:
        raise Undecodable(f"the message is of another job: {job.id!r} of queue {job.queue!r}")
    return job


def _bury(tx: Transaction, queue: str, token: int, error: Undecodable) -> None:
    # The id is not read, but moved: it may be text that Python cannot decode.
    attempts, failures = tx.run("SELECT attempts, failures FROM longboat_leased WHERE token = ?", (token,)).fetchone()
    failures = appended(failures, reasons.undecodable(str(error), tx.now, attempts))
    n = take_numbers(tx, State.DEAD, queue, 1, DEAD_KEPT)
    tx.run(
        "INSERT INTO longboat_ended SELECT ?, queue, ?, seq, id, ?, NULL, attempts, ?, NULL "
        "FROM longboat_leased WHERE token = ?",
        (State.DEAD.value, n, tx.now, failures, token),
    )
    tx.run("DELETE FROM longboat_leased WHERE token = ?", (token,))
    tx.count(queue, State.RUNNING, -1)
