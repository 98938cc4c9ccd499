"""Putting jobs: one statement for a batch, all or nothing. Puts of different jobs never wait for each other."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import psycopg.errors

from longboat.brokers.postgres import put_constrained
from longboat.brokers.postgres.caller import CallersConnection
from longboat.brokers.postgres.connections import TimedConnection
from longboat.brokers.postgres.names import name_of, producer, raw
from longboat.brokers.postgres.put_constrained import is_constrained
from longboat.brokers.postgres.store import NOW, Store, Transaction
from longboat.contract.broker import Token
from longboat.core import codec
from longboat.core.job import Job, order_of

_FRESH = """
    fresh AS (
        INSERT INTO @.producers (client, number, at) SELECT %(client)s, %(number)s, now FROM t
        WHERE NOT EXISTS (SELECT 1 FROM @.producers WHERE client = %(next)s)
        ON CONFLICT (client) DO UPDATE SET number = excluded.number, at = excluded.at
        WHERE excluded.number > producers.number RETURNING 1),"""
"""SQL: one row if this is the first put with its token."""

# For jobs that differ only in their messages, as most do: half the work of a put of any jobs. It looks for no id: if one is
# known, nothing is stored and the server says UniqueViolation.
_UNIFORM = """
    given AS MATERIALIZED (
        SELECT nextval('@.places') AS place, g.* FROM unnest(%(ids)b::bytea[], %(bodies)b::bytea[]) AS g (id, body)
        WHERE {fresh}),
    stored AS (
        INSERT INTO @.jobs (place, id, queue, rank, chosen, body)
        SELECT place, id, %(queue)b::bytea, %(rank)s::bigint, FALSE, body FROM given),
    readied AS (
        INSERT INTO @.ready (place, queue, rank, attempts, worker_deaths, expires_at)
        SELECT place, %(queue)b::bytea, %(rank)s::bigint, 0, 0, (SELECT now FROM t) + %(expires)s::float8 FROM given),
    counted AS (
        INSERT INTO @.counts SELECT %(queue)b::bytea, 'ready', cardinality(%(ids)b::bytea[]) WHERE {fresh}),
    told AS MATERIALIZED (
        SELECT pg_notify(%(channel)s, 'c' || (SELECT min(place) FROM given)) FROM t
        WHERE {fresh} AND EXISTS (SELECT 1 FROM @.consumers WHERE waiting))
    SELECT {fresh}, (SELECT count(*) FROM told), NULL::bytea[]"""

# In the order of ids, so that two puts of the same jobs wait for each other in one direction only.
_ANY = """
    given AS MATERIALIZED (
        SELECT nextval('@.places') AS place, g.*
        FROM unnest(%(ids)b::bytea[], %(bodies)b::bytea[], %(queues)b::bytea[], %(ranks)b::bigint[], %(delays)b::float8[],
            %(expires)b::float8[], %(chosen)b::boolean[]) AS g (id, body, queue, rank, delay, expires, chosen)),
    stored AS MATERIALIZED (
        INSERT INTO @.jobs AS j (place, id, queue, rank, chosen, body)
        SELECT place, id, queue, rank, chosen, body FROM given WHERE {fresh} ORDER BY id
        ON CONFLICT (id) DO UPDATE SET place = excluded.place, queue = excluded.queue, rank = excluded.rank,
            chosen = excluded.chosen, body = excluded.body, until = NULL WHERE j.until <= (SELECT now FROM t)
        RETURNING place),
    new AS MATERIALIZED (SELECT g.*, t.now FROM given AS g CROSS JOIN t WHERE g.place IN (SELECT place FROM stored)),
    readied AS (
        INSERT INTO @.ready (place, queue, rank, attempts, worker_deaths, expires_at)
        SELECT place, queue, rank, 0, 0, now + expires FROM new WHERE delay <= 0),
    deferred AS (
        INSERT INTO @.scheduled (due, place, queue, rank, attempts, worker_deaths, expires_at)
        SELECT now + delay, place, queue, rank, 0, 0, now + expires FROM new WHERE delay > 0),
    counted AS (
        INSERT INTO @.counts
        SELECT queue, CASE WHEN delay > 0 THEN 'scheduled' ELSE 'ready' END, count(*) FROM new GROUP BY 1, 2),
    told AS MATERIALIZED (
        SELECT pg_notify(%(channel)s, 'c' || (SELECT min(place) FROM new)) FROM t
        WHERE EXISTS (SELECT 1 FROM new) AND (%(always)s OR EXISTS (SELECT 1 FROM @.consumers WHERE waiting)))
    SELECT {fresh}, (SELECT count(*) FROM told),
        CASE WHEN (SELECT count(*) FROM new) = cardinality(%(ids)b::bytea[]) THEN NULL
            ELSE ARRAY(SELECT id FROM new) END"""


def _statements(sql: str) -> tuple[str, str]:
    """(without a token, with one)"""
    now = f"WITH t AS MATERIALIZED (SELECT {NOW} AS now),"
    return now + sql.format(fresh="TRUE"), now + _FRESH + sql.format(fresh="EXISTS (SELECT 1 FROM fresh)")


_PUT_UNIFORM = _statements(_UNIFORM)
_PUT_ANY = _statements(_ANY)


def put(store: Store, jobs: Sequence[Job], token: Token | None) -> list[str]:
    """Returns the ids that were new, in order; all of them for a token that is known."""
    uniform = _uniform(store, jobs, token)
    if uniform is None and any(is_constrained(job) for job in jobs):
        return _put_constrained(store, jobs, token)

    def putting(conn: TimedConnection) -> Any:
        if uniform is not None:
            with contextlib.suppress(psycopg.errors.UniqueViolation):  # an id is known: find out which
                return store.run(conn, _PUT_UNIFORM[token is not None], uniform).fetchone()
        return store.run(conn, _PUT_ANY[token is not None], _values(store, jobs, token)).fetchone()

    return _new(jobs, store.use(putting))


def _put_constrained(store: Store, jobs: Sequence[Job], token: Token | None) -> list[str]:
    def putting(conn: TimedConnection) -> list[str]:
        with contextlib.suppress(psycopg.errors.UniqueViolation):  # another put has just taken a place: choose again
            return store.write_on(conn, lambda tx: put_constrained.put(tx, jobs, token))
        return store.write_on(conn, lambda tx: put_constrained.put(tx, jobs, token))

    return store.use(putting)


def put_within(store: Store, conn: CallersConnection, jobs: Sequence[Job]) -> list[str]:
    """The same within the transaction that the caller's connection is in, and which the caller ends."""
    if not jobs:
        return []
    with store.pool.translating():
        if not any(is_constrained(job) for job in jobs):
            values = {**_values(store, jobs, None), "always": True}
            return _new(jobs, store.run(conn, _PUT_ANY[0], values).fetchone())
        tx = Transaction(store, conn)  # its first statement begins the caller's transaction, if need be
        with conn.savepoint():  # a savepoint in it: what is refused leaves nothing
            new = put_constrained.put(tx, jobs, None)
            tx.finish()
    return new


def _common(store: Store, jobs: Sequence[Job], token: Token | None) -> dict[str, Any]:
    ids, bodies = [raw(job.id) for job in jobs], [codec.encode_job(job) for job in jobs]
    return {"channel": store.channel, "ids": ids, "bodies": bodies, **(producer(token) if token else {})}


def _uniform(store: Store, jobs: Sequence[Job], token: Token | None) -> dict[str, Any] | None:
    """The values of _UNIFORM; None for jobs that differ, are not ready at once, or whose ids may well be known.

    They must be in the order of ids, so that two puts of the same jobs wait for each other in one direction only.
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
    expires = None if first.expires is None else float(first.expires)
    return {"queue": raw(first.queue), "rank": -first.priority, "expires": expires, **_common(store, jobs, token)}


def _values(store: Store, jobs: Sequence[Job], token: Token | None) -> dict[str, Any]:
    """The values of _ANY."""
    by_id = {job.id: job for job in reversed(jobs)}  # of several with one id the first counts
    unique = [by_id[job_id] for job_id in dict.fromkeys(job.id for job in jobs)]
    return {
        "queues": [raw(job.queue) for job in unique],
        "ranks": [-job.priority for job in unique],
        "delays": [float(job.delay) for job in unique],
        "expires": [None if job.expires is None else float(job.expires) for job in unique],
        "chosen": [order_of(job.id) is None for job in unique],
        "always": False,
        **_common(store, unique, token),
    }


def _new(jobs: Sequence[Job], answer: tuple[bool, int, list[bytes] | None]) -> list[str]:
    fresh, _, some = answer
    ids = list(dict.fromkeys(job.id for job in jobs))
    if not fresh or some is None:
        return ids
    new = {name_of(each) for each in some}
    return [job_id for job_id in ids if job_id in new]
