"""Putting jobs: one statement for a batch, all or nothing; puts of different jobs never wait for each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import psycopg
from psycopg.rows import tuple_row

from longboat import codec
from longboat.broker import Token
from longboat.brokers.postgres.names import name_of, raw
from longboat.brokers.postgres.store import NOW, Store
from longboat.job import Job, order_of

_GIVEN = """
    t AS MATERIALIZED (SELECT {now} AS now),
    given AS MATERIALIZED (
        SELECT nextval('@.places') AS place, g.*
        FROM unnest(%(ids)b::bytea[], %(bodies)b::bytea[], %(queues)b::bytea[], %(ranks)b::bigint[], %(delays)b::float8[],
            %(expires)b::float8[], %(chosen)b::boolean[]) AS g (id, body, queue, rank, delay, expires, chosen))"""
_FRESH = """
    fresh AS (
        INSERT INTO @.producers (client, number, at) SELECT %(client)s, %(number)s, now FROM t
        ON CONFLICT (client) DO UPDATE SET number = excluded.number, at = excluded.at
        WHERE excluded.number > producers.number RETURNING 1)"""
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
_PUT_ONCE = f"WITH {_GIVEN},{_FRESH},{_STORED}".format(
    now=NOW, fresh="EXISTS (SELECT 1 FROM fresh)", is_fresh="EXISTS (SELECT 1 FROM fresh)"
)


def put(store: Store, jobs: Sequence[Job], token: Token | None) -> list[str]:
    """Returns the ids that were new, in order; all of them for a token that is known."""
    sql, values = _statement(store, jobs, token)
    return _new(jobs, store.use(lambda link: store.run(link, sql, values).fetchone()))


def put_within(store: Store, connection: Any, jobs: Sequence[Job]) -> list[str]:
    """The same within the transaction that a connection of psycopg is in, whose owner ends it."""
    sql, values = _statement(store, jobs, None)
    cursor = psycopg.Cursor(connection, row_factory=tuple_row)
    now = None if store.clock is None else store.clock.now()
    with store.told_well():
        cursor.execute(store.text(sql), {**values, "always": True, "now": now}, prepare=False, binary=True)
        return _new(jobs, cast("tuple[bool, int, list[bytes] | None]", cursor.fetchone()))


def _statement(store: Store, jobs: Sequence[Job], token: Token | None) -> tuple[str, dict[str, Any]]:
    by_id = {job.id: job for job in reversed(jobs)}  # of the same id the first counts
    unique = list(jobs) if len(by_id) == len(jobs) else [by_id[job_id] for job_id in dict.fromkeys(job.id for job in jobs)]
    values: dict[str, Any] = {
        "ids": [raw(job.id) for job in unique],
        "bodies": [codec.encode_job(job) for job in unique],
        "queues": [raw(job.queue) for job in unique],
        "ranks": [-job.priority for job in unique],
        "delays": [float(job.delay) for job in unique],
        "expires": [None if job.expires is None else float(job.expires) for job in unique],
        "chosen": [order_of(job.id) is None for job in unique],
        "channel": store.channel,
        "always": False,
    }
    if token is None:
        return _PUT, values
    values["client"], values["number"] = token
    return _PUT_ONCE, values


def _new(jobs: Sequence[Job], answer: tuple[bool, int, list[bytes] | None]) -> list[str]:
    fresh, _, some = answer
    ids = list(dict.fromkeys(job.id for job in jobs))
    if not fresh or some is None:
        return ids
    new = {name_of(each) for each in some}
    return [job_id for job_id in ids if job_id in new]
