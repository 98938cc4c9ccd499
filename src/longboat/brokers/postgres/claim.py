"""Claiming by one statement: ready rows become leased ones, and their messages jobs."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from longboat.brokers.postgres import limits
from longboat.brokers.postgres.dependencies import with_inputs
from longboat.brokers.postgres.floors import IN_RANGE, RANGES_OF_ONE, Ranges
from longboat.brokers.postgres.names import raw
from longboat.brokers.postgres.rows import FIELDS, Ending, appended, end, take
from longboat.brokers.postgres.store import NOW, Connection, Store, Transaction
from longboat.contract.broker import DEAD_KEPT, Lease
from longboat.core import codec, reasons
from longboat.core.job import MESSAGE_VERSION, Job, State
from longboat.errors import Undecodable

LEASED = f"""
    numbered AS MATERIALIZED (
        SELECT nextval('@.tokens') AS token, p.* FROM (SELECT * FROM picked ORDER BY rank, place) AS p),
    held AS (
        INSERT INTO @.leased (token, consumer, claim, started, cancel, since, {FIELDS})
        SELECT token, %(consumer)s, %(number)s, FALSE, FALSE, t.now, {FIELDS} FROM numbered CROSS JOIN t)"""
"""SQL: the rows `picked` become leases."""

# The consumer's row is locked first: a transaction that ends the consumer waits for this claim, or this one finds it ended.
# The rows are found by their physical place, since they are locked: that is the fastest way, whatever the statistics say.
_CLAIM = f"""
    WITH t AS MATERIALIZED (SELECT {NOW} AS now),
    me AS MATERIALIZED (
        SELECT n FROM @.consumers WHERE n = %(consumer)s AND floor < %(number)s FOR KEY SHARE),
    picked AS MATERIALIZED (
        DELETE FROM @.ready WHERE ctid = ANY ({{first}}) RETURNING {FIELDS}),
    {LEASED},
    counted AS (
        INSERT INTO @.counts
        SELECT %(queue)b::bytea, s.state, s.sign * c.n FROM (SELECT count(*) AS n FROM numbered) AS c,
            (VALUES ('ready', -1), ('running', 1)) AS s (state, sign) WHERE c.n > 0)
    SELECT token, attempts, worker_deaths, failures, j.id, j.body, p.rank, p.place
    FROM numbered AS p LEFT JOIN LATERAL (SELECT id, body FROM @.jobs WHERE place = p.place OFFSET 0) AS j ON TRUE
    ORDER BY token"""

# Range after range, in order, until there are enough: the limit outside ends the nested loop.
_READY = f"""
    FROM {RANGES_OF_ONE} CROSS JOIN LATERAL (SELECT ctid, limited
        FROM @.ready AS r WHERE queue = %(queue)b AND {IN_RANGE} AND (expires_at IS NULL OR expires_at > (SELECT now FROM t))
        AND (SELECT n FROM me) IS NOT NULL {{but}} ORDER BY queue, rank, place LIMIT %(n)s FOR UPDATE SKIP LOCKED) AS r
    LIMIT %(n)s"""
# Jobs with limits take more than one statement (claim_limited.py). So all or none are claimed: none if the queue has such a
# job; or, where some are ready as a rule, if it is one of those to be claimed, which costs a little more.
_NO_LIMITS = "AND (SELECT NOT EXISTS (SELECT 1 FROM @.ready WHERE queue = %(queue)b AND limited))"
_CLAIM_PLAIN = _CLAIM.format(first=f"ARRAY(SELECT r.ctid {_READY.format(but=_NO_LIMITS)})")
_CLAIM_BESIDE = _CLAIM.format(
    first="(SELECT CASE WHEN bool_or(limited) THEN NULL ELSE array_agg(at) END "
    f"FROM (SELECT r.ctid AS at, limited {_READY.format(but='')}) AS r)::tid[]"
)

_jobs = msgspec.msgpack.Decoder(list[Job])
_ARRAY_OF = struct.Struct(">BI").pack
_ARRAY = 0xDD
"""The first byte of a msgpack array of up to 2**32 values: consecutive messages become one list of jobs."""


class Claim(NamedTuple):
    """Who claims from which queue."""

    consumer: int
    number: int
    """The consumer's own number of the claim."""
    queue: bytes


class Claimed(NamedTuple):
    leases: list[Lease]
    bad: list[tuple[int, str]]
    """Tokens of messages that cannot be read, and why."""
    blocked: int = 0
    """How many jobs a limit blocked."""
    limited: bool = False
    """Some of the jobs looked at have limits."""
    ends: Sequence[tuple[int, int]] = ()
    """(rank, place) of the last job of each rank."""

    @property
    def size(self) -> int:
        return len(self.leases) + len(self.bad)


def claim(store: Store, conn: Connection, its: Claim, n: int, among: Ranges, *, beside: bool = False) -> Claimed:
    """Lease up to `n` ready jobs of these ranges, in order; none if one of them has a limit.

    Unless `beside`, none either if the queue has such a job.
    """
    values = {"n": n, **its._asdict(), **among._asdict()}
    rows = store.run(conn, _CLAIM_BESIDE if beside else _CLAIM_PLAIN, values).fetchall()
    claimed = _together(rows, its.queue) or _separate(rows, its.queue)
    leases = with_inputs(lambda sql, **values: store.run(conn, sql, values), claimed.leases)
    return claimed._replace(leases=leases, ends=_ends(rows))


def _ends(rows: Sequence[tuple[Any, ...]]) -> Sequence[tuple[int, int]]:
    if rows and rows[0][-2] == rows[-1][-2]:  # all of one rank, as most
        rows = rows[-1:]
    return list({rank: place for *_, rank, place in rows}.items())


def _together(rows: Sequence[tuple[object, ...]], queue: bytes) -> Claimed | None:
    """All at once; None if something is wrong with one of them."""
    if not rows:
        return Claimed([], [])
    tokens, attempts, worker_deaths, failures, ids, bodies, _, _ = zip(*rows, strict=True)
    try:
        jobs = _jobs.decode(_ARRAY_OF(_ARRAY, len(rows)) + b"".join(bodies))
    except (TypeError, msgspec.MsgspecError, ValueError, RecursionError):
        return None
    for job, its in zip(jobs, ids, strict=True):
        if raw(job.id) != its or job.v != MESSAGE_VERSION or raw(job.queue) != queue:
            return None
    if not any(attempts) and not any(worker_deaths) and not any(failures):
        return Claimed([Lease(job, 1, token) for job, token in zip(jobs, tokens, strict=True)], [])
    history = zip(jobs, attempts, tokens, worker_deaths, failures, strict=True)
    return Claimed([Lease(job, a + 1, token, w, len(codec.decode_failures(f))) for job, a, token, w, f in history], [])


def _separate(rows: Sequence[tuple[Any, ...]], queue: bytes) -> Claimed:
    claimed = Claimed([], [])
    for token, attempts, worker_deaths, failures, job_id, body, _, _ in rows:
        try:
            job = decoded(job_id, body, queue)
        except Undecodable as error:
            claimed.bad.append((token, str(error)))
        else:
            claimed.leases.append(Lease(job, attempts + 1, token, worker_deaths, len(codec.decode_failures(failures))))
    return claimed


def decoded(stored_id: bytes | None, body: bytes | None, queue: bytes) -> Job:
    """The job that has this id and queue. Raises Undecodable, also if the message is another job's."""
    if body is None:
        raise Undecodable("the message is missing")
    job = codec.decode_job(body)
    if raw(job.id) != stored_id or raw(job.queue) != queue:
        raise Undecodable(f"the message is of another job: {job.id!r} of queue {job.queue!r}")
    return job


def bury(tx: Transaction, consumer: int, bad: Sequence[tuple[int, str]]) -> None:
    """Claimed messages that cannot be read die."""
    found = "SELECT ctid FROM @.leased WHERE token = ANY (%(tokens)b::bigint[]) AND consumer = %(consumer)s FOR UPDATE"
    why = dict(bad)
    leases = take(tx, "leased", found, "token", tokens=sorted(why), consumer=consumer)
    dead = [
        row._replace(failures=appended(row.failures, reasons.undecodable(why[token], tx.now, row.attempts)))
        for row, token in leases
    ]
    end(tx, State.DEAD, [Ending(row, DEAD_KEPT) for row in dead])
    limits.leave(tx, sorted(why))
