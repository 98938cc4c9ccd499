"""Jobs on their way into another broker, or out of one: whole, each way in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import psycopg.errors

from longboat.brokers.postgres import constrained, fairness, views
from longboat.brokers.postgres.ending import EndedJob, end, forget
from longboat.brokers.postgres.following import awaited
from longboat.brokers.postgres.moving import make_ready, make_scheduled
from longboat.brokers.postgres.names import name_of, raw
from longboat.brokers.postgres.store import Store
from longboat.brokers.postgres.sweep import remove
from longboat.brokers.postgres.transaction import Transaction
from longboat.contract.broker import DEAD_KEPT
from longboat.contract.transfer import ROOM, ExportedJob
from longboat.core import codec
from longboat.core.job import MESSAGE_VERSION, Job, State, order_of

_AWAY = 1 << 62
"""The rank of an id that is remembered since its job was packed: it may come back."""

_TABLES = {"ready": State.READY, "delayed": State.SCHEDULED, "parked": State.WAITING, "lined": State.WAITING}

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[ExportedJob]).decode


class PostgresTransfer:
    def __init__(self, store: Store) -> None:
        self._store = store

    def export_jobs(self, name: str, ids: Sequence[str]) -> list[ExportedJob]:
        return self._store.write(lambda tx: _pack(tx, name, ids))

    def unconfirmed(self) -> list[str]:
        return sorted(name for (name,) in self._store.call("SELECT name FROM @.transit"))

    def import_jobs(self, name: str, exported_jobs: Sequence[ExportedJob]) -> list[str]:
        return self._store.write(lambda tx: _unpack(tx, name, exported_jobs))

    def confirm(self, name: str) -> None:
        self._store.write(lambda tx: tx.run("DELETE FROM @.transit WHERE name = %(name)s", name=name))


def _pack(tx: Transaction, name: str, ids: Sequence[str]) -> list[ExportedJob]:
    written = tx.run("SELECT parcels FROM @.transit WHERE name = %(name)s", name=name).fetchone()
    if written is not None:
        return _decode(written[0])
    found = views.find(tx, ids)
    parents = awaited(tx, [row.place for row in found.values()])
    chosen: list[views.JobRow] = []
    room = ROOM
    for job_id in dict.fromkeys(ids):
        row = found.get(job_id)
        if row is None or row.place in parents or not _may_leave(row):
            continue
        room -= len(row.body or b"") + len(row.failures or b"")
        if room < 0 and chosen:
            break
        chosen.append(row)
    taken = _taken(tx, chosen)
    if awaited(tx, list(taken)):
        raise psycopg.errors.SerializationFailure("a job was put after one that was packed meanwhile")
    exported_jobs = [taken[row.place] for row in chosen if row.place in taken]
    if exported_jobs:
        tx.run("INSERT INTO @.transit VALUES (%(name)s, %(exported_jobs)b)", name=name, exported_jobs=_encode(exported_jobs))
    return exported_jobs


def _may_leave(row: views.JobRow) -> bool:
    job = views.decoded(row.body)
    if job and job.constraints and job.constraints.after:
        return False
    return row.state == State.DEAD.value or row.table in _TABLES


def _taken(tx: Transaction, rows: Sequence[views.JobRow]) -> dict[int, ExportedJob]:
    """Out of the store, by place: those that are still where they were found."""
    exported_jobs: dict[int, ExportedJob] = {}
    for table, state in _TABLES.items():
        these = {row.place: row for row in rows if row.table == table}
        for gone in remove(tx, table, list(these.values())) if these else ():
            row = these[gone.place]
            exported_jobs[row.place] = exported = _exported(row)
            exported.worker_deaths = gone.worker_deaths
            exported.expires = None if gone.expires_at is None else gone.expires_at - tx.now
            exported.delay = max(0.0, (row.due or 0.0) - tx.now) if state is State.SCHEDULED else 0.0
            tx.count(row.queue, state, -1)
    dead = {row.place: row for row in rows if row.state == State.DEAD.value}
    sql = "DELETE FROM @.ended WHERE place = ANY (%(places)b::bigint[]) AND state = 'dead' RETURNING place"
    for (place,) in tx.run(sql, places=sorted(dead)).fetchall() if dead else ():
        exported_jobs[place] = exported = _exported(dead[place])
        exported.dead = True
        tx.count(dead[place].queue, State.DEAD, -1)
    forget(tx, sorted(exported_jobs), [None] * len(exported_jobs))
    tx.run(
        "UPDATE @.jobs SET rank = %(away)s WHERE place = ANY (%(places)b::bigint[])",
        away=_AWAY,
        places=sorted(exported_jobs),
    )
    return exported_jobs


def _exported(row: views.JobRow) -> ExportedJob:
    job = views.decoded(row.body)
    exported = ExportedJob(name_of(row.id or b""), row.body or b"", name_of(row.queue), job.priority if job else -row.rank)
    exported.attempts, exported.failures = row.attempts, codec.decode_failures(row.failures)
    return exported


def _unpack(tx: Transaction, name: str, exported_jobs: Sequence[ExportedJob]) -> list[str]:
    first = tx.run(
        "INSERT INTO @.producers (client, number, at) VALUES (%(name)s, 1, %(at)s) "
        "ON CONFLICT (client) DO NOTHING RETURNING 1",
        name=name,
        at=tx.now,
    ).fetchone()
    if first is None:
        return [exported.id for exported in exported_jobs]
    by_place = dict(zip(fairness.places(tx, [_job(exported) for exported in exported_jobs]), exported_jobs, strict=True))
    new = _stored(tx, by_place)
    alive = [(each.delay, _row(place, each, tx.now)) for place, each in by_place.items() if place in new and not each.dead]
    make_ready(tx, [row for delay, row in alive if delay <= 0])
    make_scheduled(tx, [(tx.now + delay, row) for delay, row in alive if delay > 0])
    end(tx, State.DEAD, [_ending(place, each) for place, each in by_place.items() if place in new and each.dead])
    return [exported.id for place, exported in by_place.items() if place in new]


def _job(exported: ExportedJob) -> Job:
    """As much of it as its place depends on."""
    job = views.decoded(exported.message)
    constraints = job.constraints if job else None
    return Job(MESSAGE_VERSION, exported.id, "", b"", exported.queue, exported.priority, constraints=constraints)


def _stored(tx: Transaction, exported_jobs: dict[int, ExportedJob]) -> set[int]:
    """The places of those that were not known."""
    rows = tx.run(
        # In the order of ids, as every put, so that two wait for each other in one direction only.
        "INSERT INTO @.jobs AS j (place, id, queue, rank, chosen, body, gated) "
        "SELECT * FROM unnest(%(places)b::bigint[], %(ids)b::bytea[], %(queues)b::bytea[], %(ranks)b::bigint[], "
        "%(chosen)b::boolean[], %(bodies)b::bytea[], %(limited)b::boolean[]) "
        "AS g (place, id, queue, rank, chosen, body, gated) ORDER BY g.id "
        "ON CONFLICT (id) DO UPDATE SET place = excluded.place, queue = excluded.queue, rank = excluded.rank, "
        "chosen = excluded.chosen, body = excluded.body, gated = excluded.gated, until = NULL "
        "WHERE j.until <= %(at)s OR (j.rank = %(away)s AND j.body IS NULL) RETURNING place",
        away=_AWAY,
        places=list(exported_jobs),
        ids=[raw(each.id) for each in exported_jobs.values()],
        queues=[raw(each.queue) for each in exported_jobs.values()],
        ranks=[-each.priority for each in exported_jobs.values()],
        chosen=[order_of(each.id) is None for each in exported_jobs.values()],
        bodies=[each.message for each in exported_jobs.values()],
        limited=[constrained.limited(views.decoded(each.message)) for each in exported_jobs.values()],
        at=tx.now,
    ).fetchall()
    return {place for (place,) in rows}


class _ExportRow(NamedTuple):
    place: int
    queue: bytes
    rank: int
    attempts: int
    worker_deaths: int
    expires_at: float | None
    failures: bytes | None


def _row(place: int, exported: ExportedJob, now: float) -> _ExportRow:
    expires_at = None if exported.expires is None else now + exported.expires
    failures = _failures(exported)
    return _ExportRow(
        place, raw(exported.queue), -exported.priority, exported.attempts, exported.worker_deaths, expires_at, failures
    )


def _failures(exported: ExportedJob) -> bytes | None:
    return codec.encode_failures(exported.failures) if exported.failures else None


def _ending(place: int, exported: ExportedJob) -> EndedJob:
    return EndedJob(place, raw(exported.queue), None, exported.attempts, _failures(exported), DEAD_KEPT)
