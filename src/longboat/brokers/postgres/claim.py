"""Claiming: ready rows become leased ones, and their messages jobs."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from longboat.brokers.postgres import limits
from longboat.brokers.postgres.ending import EndedJob, appended, end
from longboat.brokers.postgres.following import with_inputs
from longboat.brokers.postgres.limited import decoded
from longboat.brokers.postgres.moving import FIELDS
from longboat.brokers.postgres.names import raw
from longboat.brokers.postgres.store import Store
from longboat.brokers.postgres.transaction import NOW, Connection, Transaction
from longboat.contract.broker import DEAD_KEPT, Lease
from longboat.core import codec
from longboat.core.job import MESSAGE_VERSION, Failure, Job, State
from longboat.core.reasons import UNDECODABLE
from longboat.errors import Undecodable

# The consumer's row is locked first: who ends the consumer waits for this claim, or this claim finds it ended.
# The rows are found by their physical place, since they are locked: whatever the statistics say, it is the fastest way.
_CLAIM = f"""
    WITH t AS MATERIALIZED (SELECT {NOW} AS now),
    me AS MATERIALIZED (
        SELECT n FROM @.consumers WHERE n = %(consumer)s AND floor < %(claim)s FOR KEY SHARE),
    picked AS MATERIALIZED (
        DELETE FROM @.ready WHERE ctid = ANY ({{first}})
        RETURNING place, queue, rank, attempts, returns, expires_at, failures),
    numbered AS MATERIALIZED (
        SELECT nextval('@.tokens') AS token, p.* FROM (SELECT * FROM picked ORDER BY rank, place) AS p),
    held AS (
        INSERT INTO @.leased (token, consumer, claim, started, cancel, since, {FIELDS})
        SELECT token, %(consumer)s, %(claim)s, FALSE, FALSE, t.now, {FIELDS} FROM numbered CROSS JOIN t),
    counted AS (
        INSERT INTO @.counts
        SELECT %(queue)b::bytea, s.state, s.sign * c.n FROM (SELECT count(*) AS n FROM numbered) AS c,
            (VALUES ('ready', -1), ('running', 1)) AS s (state, sign) WHERE c.n > 0)
    SELECT token, attempts, returns, failures, j.id, j.body
    FROM numbered AS p LEFT JOIN LATERAL (SELECT id, body FROM @.jobs WHERE place = p.place OFFSET 0) AS j ON TRUE
    ORDER BY token"""

_READY = """
    FROM @.ready WHERE queue = %(queue)b AND (expires_at IS NULL OR expires_at > (SELECT now FROM t))
        AND (SELECT n FROM me) IS NOT NULL {but} ORDER BY queue, rank, place LIMIT %(n)s FOR UPDATE SKIP LOCKED"""
# Jobs with limits take more than one statement (gated.py). So all or none are claimed: none if there is such a job in the
# queue; or, where some are ready as a rule, if it is one of those to be claimed, which costs a little more.
_NO_GATES = "AND (SELECT NOT EXISTS (SELECT 1 FROM @.ready WHERE queue = %(queue)b AND gated))"
_CLAIM_PLAIN = _CLAIM.format(first=f"ARRAY(SELECT ctid {_READY.format(but=_NO_GATES)})")
_CLAIM_BESIDE = _CLAIM.format(
    first="(SELECT CASE WHEN bool_or(gated) THEN NULL ELSE array_agg(at) END "
    f"FROM (SELECT ctid AS at, gated {_READY.format(but='')}) AS r)::tid[]"
)

_jobs = msgspec.msgpack.Decoder(list[Job])
_ARRAY_OF = struct.Struct(">BI").pack
_ARRAY = 0xDD
"""What begins a msgpack array of up to 2**32 values: messages in a row become one list of jobs."""


class _ReadyRow(NamedTuple):
    token: int
    attempts: int
    worker_deaths: int
    failures: bytes | None
    id: bytes | None
    body: bytes | None


class Claimed(NamedTuple):
    leases: list[Lease]
    bad: list[tuple[int, str]]
    """Tokens of what is no job, and why."""

    @property
    def size(self) -> int:
        return len(self.leases) + len(self.bad)


def claim(
    store: Store, link: Connection, consumer: int, number: int, queue: bytes, n: int, *, beside: bool = False
) -> Claimed:
    """Lease up to `n` ready jobs of the queue to the consumer, in order; none where one of them has a limit.

    Unless `beside`, none also where such a job stands behind them.
    """
    values = {"consumer": consumer, "claim": number, "queue": queue, "n": n}
    rows = store.run(link, _CLAIM_BESIDE if beside else _CLAIM_PLAIN, values).fetchall()
    claimed = _together(rows, queue) or _separate(rows, queue)
    leases = with_inputs(lambda sql, **values: store.run(link, sql, values), claimed.leases)
    return claimed._replace(leases=leases)


def _together(rows: Sequence[tuple[object, ...]], queue: bytes) -> Claimed | None:
    """All at once; None where something is wrong with one of them."""
    if not rows:
        return Claimed([], [])
    tokens, attempts, worker_deaths, failures, ids, bodies = zip(*rows, strict=True)
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
    return Claimed([Lease(job, a + 1, token, r, len(codec.decode_failures(f))) for job, a, token, r, f in history], [])


def _separate(rows: Sequence[tuple[object, ...]], queue: bytes) -> Claimed:
    claimed = Claimed([], [])
    for row in (_ReadyRow(*row) for row in rows):  # type: ignore[arg-type]
        try:
            job = decoded(row.id, row.body, queue)
        except Undecodable as error:
            claimed.bad.append((row.token, str(error)))
            continue
        claimed.leases.append(
            Lease(job, row.attempts + 1, row.token, row.worker_deaths, len(codec.decode_failures(row.failures)))
        )
    return claimed


def bury(tx: Transaction, consumer: int, bad: Sequence[tuple[int, str]]) -> None:
    """What was claimed and is no job dies."""
    for token, why in bad:
        row = tx.run(
            "DELETE FROM @.leased WHERE token = %(token)s AND consumer = %(consumer)s "
            "RETURNING place, queue, attempts, failures",
            token=token,
            consumer=consumer,
        ).fetchone()
        if row is not None:
            place, queue, attempts, failures = row
            failure = Failure(UNDECODABLE, why, attempt=attempts, at=tx.now)
            tx.count(queue, State.RUNNING, -1)
            limits.leave(tx, [token])
            end(tx, State.DEAD, [EndedJob(place, queue, None, attempts, appended(failures, failure), DEAD_KEPT)])
