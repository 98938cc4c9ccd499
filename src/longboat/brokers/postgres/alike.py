"""Putting jobs that differ in nothing but their messages, as most do: half the work of a put of any jobs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from longboat.brokers.postgres.names import raw
from longboat.brokers.postgres.transaction import NOW
from longboat.core import codec
from longboat.core.job import Job, order_of

FRESH = """
    fresh AS (
        INSERT INTO @.producers (client, number, at) SELECT %(client)s, %(number)s, now FROM t
        ON CONFLICT (client) DO UPDATE SET number = excluded.number, at = excluded.at
        WHERE excluded.number > producers.number RETURNING 1)"""
"""SQL: one row if the put with this token is the first one."""

# No id is looked for: if one is known nothing is stored, and the server says UniqueViolation.
_ALIKE = """
    WITH t AS MATERIALIZED (SELECT {now} AS now),{first}
    given AS MATERIALIZED (
        SELECT nextval('@.places') AS place, g.* FROM unnest(%(ids)b::bytea[], %(bodies)b::bytea[]) AS g (id, body)
        WHERE {fresh}),
    stored AS (
        INSERT INTO @.jobs (place, id, queue, rank, chosen, body)
        SELECT place, id, %(queue)b::bytea, %(rank)s::bigint, FALSE, body FROM given),
    readied AS (
        INSERT INTO @.ready (place, queue, rank, attempts, returns, expires_at)
        SELECT place, %(queue)b::bytea, %(rank)s::bigint, 0, 0, (SELECT now FROM t) + %(expires)s::float8 FROM given),
    counted AS (
        INSERT INTO @.counts SELECT %(queue)b::bytea, 'ready', cardinality(%(ids)b::bytea[]) WHERE {fresh}),
    told AS MATERIALIZED (
        SELECT pg_notify(%(channel)s, 'c') FROM t
        WHERE {fresh} AND EXISTS (SELECT 1 FROM @.consumers WHERE waiting))
    SELECT {fresh}, (SELECT count(*) FROM told), NULL::bytea[]"""

ALIKE = _ALIKE.format(now=NOW, first="", fresh="TRUE")
ALIKE_ONCE = _ALIKE.format(now=NOW, first=f"{FRESH},", fresh="EXISTS (SELECT 1 FROM fresh)")


def values_of(jobs: Sequence[Job]) -> dict[str, Any] | None:
    """What the statement needs; None for jobs that are not alike, not ready at once, or whose ids may well be known.

    In the order of ids, so that two puts of the same jobs wait for each other in one direction only.
    """
    first = jobs[0]
    previous = ""
    for job in jobs:
        if (
            job.id <= previous
            or job.delay > 0
            or job.queue != first.queue
            or job.priority != first.priority
            or job.expires != first.expires
            or job.constraints is not None
            or order_of(job.id) is None
        ):
            return None
        previous = job.id
    return {
        "ids": [raw(job.id) for job in jobs],
        "bodies": [codec.encode_job(job) for job in jobs],
        "queue": raw(first.queue),
        "rank": -first.priority,
        "expires": None if first.expires is None else float(first.expires),
    }
