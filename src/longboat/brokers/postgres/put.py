"""Putting jobs: one statement for a batch, all or nothing; puts of different jobs never wait for each other."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import psycopg
import psycopg.errors

from longboat.brokers.postgres import constrained
from longboat.brokers.postgres.alike import ALIKE, ALIKE_ONCE, FRESH, values_of
from longboat.brokers.postgres.guest import Guest
from longboat.brokers.postgres.link import TimedConnection
from longboat.brokers.postgres.names import name_of, raw
from longboat.brokers.postgres.store import Store
from longboat.brokers.postgres.transaction import NOW
from longboat.contract.broker import Token
from longboat.core import codec
from longboat.core.job import Job, order_of

_GIVEN = """
    t AS MATERIALIZED (SELECT {now} AS now),
    given AS MATERIALIZED (
        SELECT nextval('@.places') AS place, g.*
        FROM unnest(%(ids)b::bytea[], %(bodies)b::bytea[], %(queues)b::bytea[], %(ranks)b::bigint[], %(delays)b::float8[],
            %(expires)b::float8[], %(chosen)b::boolean[]) AS g (id, body, queue, rank, delay, expires, chosen))"""
# In the order of ids, so that two puts of the same jobs wait for each other in one direction only.
_STORED = """
    stored AS MATERIALIZED (
        INSERT INTO @.jobs AS j (place, id, queue, rank, chosen, body)
        SELECT place, id, queue, rank, chosen, body FROM given WHERE {fresh} ORDER BY id
        ON CONFLICT (id) DO UPDATE SET place = excluded.place, queue = excluded.queue, rank = excluded.rank,
            chosen = excluded.chosen, body = excluded.body, until = NULL WHERE j.until <= (SELECT now FROM t)
        RETURNING place),
    new AS MATERIALIZED (SELECT g.*, t.now FROM given AS g CROSS JOIN t WHERE g.place IN (SELECT place FROM stored)),
    readied AS (
        INSERT INTO @.ready (place, queue, rank, attempts, returns, expires_at)
        SELECT place, queue, rank, 0, 0, now + expires FROM new WHERE delay <= 0),
    deferred AS (
        INSERT INTO @.delayed (due, place, queue, rank, attempts, returns, expires_at)
        SELECT now + delay, place, queue, rank, 0, 0, now + expires FROM new WHERE delay > 0),
    counted AS (
        INSERT INTO @.counts
        SELECT queue, CASE WHEN delay > 0 THEN 'scheduled' ELSE 'ready' END, count(*) FROM new GROUP BY 1, 2),
    told AS MATERIALIZED (
        SELECT pg_notify(%(channel)s, 'c') FROM t
        WHERE EXISTS (SELECT 1 FROM new) AND (%(always)s OR EXISTS (SELECT 1 FROM @.consumers WHERE waiting)))
    SELECT {is_fresh}, (SELECT count(*) FROM told),
        CASE WHEN (SELECT count(*) FROM new) = cardinality(%(ids)b::bytea[]) THEN NULL
            ELSE ARRAY(SELECT id FROM new) END"""

_PUT = f"WITH {_GIVEN},{_STORED}".format(now=NOW, fresh="TRUE", is_fresh="TRUE")
_PUT_ONCE = f"WITH {_GIVEN},{FRESH},{_STORED}".format(
    now=NOW, fresh="EXISTS (SELECT 1 FROM fresh)", is_fresh="EXISTS (SELECT 1 FROM fresh)"
)


def put(store: Store, jobs: Sequence[Job], token: Token | None) -> list[str]:
    """Returns the ids that were new, in order; all of them for a token that is known."""
    alike = values_of(jobs)
    if alike is not None:
        alike |= _about(store, token)
    elif any(constrained.is_constrained(job) for job in jobs):
        return _put_constrained(store, jobs, token)

    def putting(link: TimedConnection) -> Any:
        if alike is not None:
            with contextlib.suppress(psycopg.errors.UniqueViolation):  # one of the ids is known: look which
                return store.run(link, ALIKE if token is None else ALIKE_ONCE, alike).fetchone()
        return store.run(link, _PUT if token is None else _PUT_ONCE, _values(store, jobs, token)).fetchone()

    return _new(jobs, store.use(putting))


def _put_constrained(store: Store, jobs: Sequence[Job], token: Token | None) -> list[str]:
    def putting(link: TimedConnection) -> list[str]:
        with contextlib.suppress(psycopg.errors.UniqueViolation):  # another has just taken the very place of one: look anew
            return store.write_on(link, lambda tx: constrained.put(tx, jobs, token))
        return store.write_on(link, lambda tx: constrained.put(tx, jobs, token))

    return store.use(putting)


def _put_constrained_within(store: Store, connection: Any, jobs: Sequence[Job]) -> list[str]:
    with store.told_well():
        tx = store.guest(connection)
        with connection.transaction():  # a part of the caller's, which `guest` has begun: what is refused leaves nothing
            new = constrained.put(tx, jobs, None)
            tx.flush()
    return new


def put_within(store: Store, connection: Any, jobs: Sequence[Job]) -> list[str]:
    """The same within the transaction that a connection of psycopg is in, whose owner ends it."""
    if any(constrained.is_constrained(job) for job in jobs):
        return _put_constrained_within(store, connection, jobs)
    values = {**_values(store, jobs, None), "always": True}
    with store.told_well():
        return _new(jobs, store.run(Guest(connection), _PUT, values).fetchone())


def _about(store: Store, token: Token | None) -> dict[str, Any]:
    client, number = token or (None, None)
    return {"channel": store.channel, "client": client, "number": number}


def _values(store: Store, jobs: Sequence[Job], token: Token | None) -> dict[str, Any]:
    by_id = {job.id: job for job in reversed(jobs)}  # of the same id the first counts
    unique = list(jobs) if len(by_id) == len(jobs) else [by_id[job_id] for job_id in dict.fromkeys(job.id for job in jobs)]
    return {
        "ids": [raw(job.id) for job in unique],
        "bodies": [codec.encode_job(job) for job in unique],
        "queues": [raw(job.queue) for job in unique],
        "ranks": [-job.priority for job in unique],
        "delays": [float(job.delay) for job in unique],
        "expires": [None if job.expires is None else float(job.expires) for job in unique],
        "chosen": [order_of(job.id) is None for job in unique],
        "always": False,
        **_about(store, token),
    }


def _new(jobs: Sequence[Job], answer: tuple[bool, int, list[bytes] | None]) -> list[str]:
    fresh, _, some = answer
    ids = list(dict.fromkeys(job.id for job in jobs))
    if not fresh or some is None:
        return ids
    new = {name_of(each) for each in some}
    return [job_id for job_id in ids if job_id in new]
