"""Putting jobs that depend on others: several statements in one transaction, since much has to be looked up first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from longboat.brokers.postgres import dependencies, fairness
from longboat.brokers.postgres.names import producer, raw
from longboat.brokers.postgres.rows import JobRow, enqueue, insert, insert_values
from longboat.brokers.postgres.store import Transaction
from longboat.contract.broker import Token
from longboat.core import codec
from longboat.core.job import Job, order_of


def is_constrained(job: Job) -> bool:
    """Whether its constraints concern the broker, which only carries the rest."""
    return job.constraints is not None and bool(
        job.constraints.after or job.constraints.limits or job.constraints.fairness_key
    )


def put(tx: Transaction, jobs: Sequence[Job], token: Token | None) -> list[str]:
    """As put.put. Raises UnknownParent."""
    ids = list(dict.fromkeys(job.id for job in jobs))
    if token is not None and not is_first(tx, token):
        return ids
    by_id = {job.id: job for job in reversed(jobs)}  # of several with one id the first counts
    unique = [by_id[job_id] for job_id in ids]
    bodies = [codec.encode_job(job) for job in unique]  # first: no job is stored that this refuses
    places = dict(zip(ids, fairness.places(tx, [(job.queue, job.priority, job) for job in unique]), strict=True))
    messages = [
        Message(places[job.id], job.id, job.queue, job.priority, body, job) for job, body in zip(unique, bodies, strict=True)
    ]
    stored = store(tx, messages)
    new = {job_id: place for job_id, place in places.items() if place in stored}
    missing = dependencies.add(tx, unique, new)
    rows: dict[str, JobRow] = {}
    for job_id, place in new.items():
        job = by_id[job_id]
        expires_at = None if job.expires is None else tx.now + job.expires
        rows[job_id] = JobRow(place, raw(job.queue), -job.priority, expires_at=expires_at)
    waiting = [job_id for job_id, place in new.items() if place in missing]
    insert(
        tx,
        "dependent",
        [rows[job_id] for job_id in waiting],
        missing=[missing[new[job_id]] for job_id in waiting],
        delay=[float(by_id[job_id].delay) for job_id in waiting],
    )
    enqueue(tx, [(row, float(by_id[job_id].delay)) for job_id, row in rows.items() if row.place not in missing])
    return list(new)


def is_first(tx: Transaction, token: Token) -> bool:
    """Whether no put with this token is known. From now on it is."""
    fresh = tx.run(
        "INSERT INTO @.producers (client, number, at) SELECT %(client)s, %(number)s, %(at)s "
        "WHERE NOT EXISTS (SELECT 1 FROM @.producers WHERE client = %(next)s) "
        "ON CONFLICT (client) DO UPDATE SET number = excluded.number, at = excluded.at "
        "WHERE excluded.number > producers.number RETURNING 1",
        **producer(token),
        at=tx.now,
    )
    return fresh.fetchone() is not None


class Message(NamedTuple):
    """A row of `jobs` to be."""

    place: int
    id: str
    queue: str
    priority: int
    body: bytes
    job: Job | None
    """What the message says, if it can be read."""


def store(tx: Transaction, messages: Sequence[Message], but: str = "FALSE") -> set[int]:
    """The places of those whose ids were not known, or known in a way that does not matter (`but`, SQL of `t`)."""
    messages = sorted(messages, key=lambda each: raw(each.id))  # in the order of ids, as every put
    rows = insert_values(
        tx,
        "jobs",
        {
            "place": [each.place for each in messages],
            "id": [raw(each.id) for each in messages],
            "queue": [raw(each.queue) for each in messages],
            "rank": [-each.priority for each in messages],
            "chosen": [order_of(each.id) is None for each in messages],
            "body": [each.body for each in messages],
            "limited": [
                bool(each.job and each.job.constraints and each.job.constraints.limits) or None for each in messages
            ],
        },
        rest="ON CONFLICT (id) DO UPDATE SET place = excluded.place, queue = excluded.queue, rank = excluded.rank, "
        "chosen = excluded.chosen, body = excluded.body, limited = excluded.limited, until = NULL "
        f"WHERE t.until <= %(at)s OR {but} RETURNING place",
        at=tx.now,
    )
    return {place for (place,) in rows.fetchall()}
