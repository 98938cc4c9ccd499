"""Putting jobs that are tied to others: by several statements in one transaction, since much is looked up first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from longboat.brokers.postgres import fairness, following
from longboat.brokers.postgres.moving import make_ready, make_scheduled
from longboat.brokers.postgres.names import raw
from longboat.brokers.postgres.transaction import Transaction
from longboat.contract.broker import Token
from longboat.core import codec
from longboat.core.job import Job, State, order_of


def is_constrained(job: Job) -> bool:
    """Whether its ties are more than words that a broker only carries."""
    return job.constraints is not None and bool(
        job.constraints.after or job.constraints.limits or job.constraints.fairness_key
    )


def put(tx: Transaction, jobs: Sequence[Job], token: Token | None) -> list[str]:
    """As put.put. Raises UnknownParent."""
    ids = list(dict.fromkeys(job.id for job in jobs))
    if token is not None and not _is_first(tx, token):
        return ids
    by_id = {job.id: job for job in reversed(jobs)}  # of the same id the first counts
    unique = [by_id[job_id] for job_id in ids]
    places = dict(zip(ids, fairness.places(tx, unique), strict=True))
    stored = _store(tx, unique, places)
    new = {job_id: place for job_id, place in places.items() if place in stored}
    missing = following.tie(tx, unique, new)
    _place(tx, [_ConstrainedRow.of(by_id[job_id], place, missing.get(place, 0), tx.now) for job_id, place in new.items()])
    return list(new)


class _ConstrainedRow(NamedTuple):
    """A new job."""

    place: int
    queue: bytes
    rank: int
    attempts: int
    worker_deaths: int
    expires_at: float | None
    failures: bytes | None
    delay: float
    missing: int

    @classmethod
    def of(cls, job: Job, place: int, missing: int, now: float) -> _ConstrainedRow:
        expires_at = None if job.expires is None else now + job.expires
        return cls(place, raw(job.queue), -job.priority, 0, 0, expires_at, None, float(job.delay), missing)


def _is_first(tx: Transaction, token: Token) -> bool:
    client, number = token
    fresh = tx.run(
        "INSERT INTO @.producers (client, number, at) VALUES (%(client)s, %(number)s, %(at)s) "
        "ON CONFLICT (client) DO UPDATE SET number = excluded.number, at = excluded.at "
        "WHERE excluded.number > producers.number RETURNING 1",
        client=client,
        number=number,
        at=tx.now,
    )
    return fresh.fetchone() is not None


def _store(tx: Transaction, jobs: Sequence[Job], places: dict[str, int]) -> set[int]:
    """The places of those that were not known. In the order of ids, as every put."""
    jobs = sorted(jobs, key=lambda job: raw(job.id))
    rows = tx.run(
        "INSERT INTO @.jobs AS j (place, id, queue, rank, chosen, body, gated) "
        "SELECT * FROM unnest(%(places)b::bigint[], %(ids)b::bytea[], %(queues)b::bytea[], %(ranks)b::bigint[], "
        "%(chosen)b::boolean[], %(bodies)b::bytea[], %(limited)b::boolean[]) "
        "ON CONFLICT (id) DO UPDATE SET place = excluded.place, queue = excluded.queue, rank = excluded.rank, "
        "chosen = excluded.chosen, body = excluded.body, gated = excluded.gated, until = NULL "
        "WHERE j.until <= %(at)s RETURNING place",
        places=[places[job.id] for job in jobs],
        ids=[raw(job.id) for job in jobs],
        queues=[raw(job.queue) for job in jobs],
        ranks=[-job.priority for job in jobs],
        chosen=[order_of(job.id) is None for job in jobs],
        bodies=[codec.encode_job(job) for job in jobs],
        limited=[limited(job) for job in jobs],
        at=tx.now,
    ).fetchall()
    return {place for (place,) in rows}


def limited(job: Job | None) -> bool | None:
    """As the tables have it: NULL for most."""
    return True if job and job.constraints and job.constraints.limits else None


def _place(tx: Transaction, rows: Sequence[_ConstrainedRow]) -> None:
    waiting = [row for row in rows if row.missing]
    if waiting:
        tx.run(
            "INSERT INTO @.pending (place, missing, delay, queue, rank, attempts, returns, expires_at) "
            "SELECT place, missing, delay, queue, rank, 0, 0, expires_at FROM unnest(%(places)b::bigint[], "
            "%(missing)b::int[], %(delays)b::float8[], %(queues)b::bytea[], %(ranks)b::bigint[], %(expires)b::float8[]) "
            "AS g (place, missing, delay, queue, rank, expires_at)",
            places=[row.place for row in waiting],
            missing=[row.missing for row in waiting],
            delays=[row.delay for row in waiting],
            queues=[row.queue for row in waiting],
            ranks=[row.rank for row in waiting],
            expires=[row.expires_at for row in waiting],
        )
        for row in waiting:
            tx.count(row.queue, State.WAITING, 1)
    make_ready(tx, [row for row in rows if not row.missing and row.delay <= 0])
    make_scheduled(tx, [(tx.now + row.delay, row) for row in rows if not row.missing and row.delay > 0])
