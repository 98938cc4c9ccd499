"""Jobs exported to another broker, or imported from one: whole, each way in one transaction."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import psycopg.errors

from longboat.brokers.postgres import fairness, views
from longboat.brokers.postgres.dependencies import with_dependents
from longboat.brokers.postgres.names import name_of, raw
from longboat.brokers.postgres.put_constrained import Message, is_first, store
from longboat.brokers.postgres.rows import Ending, JobRow, end, enqueue, forget, take_these
from longboat.brokers.postgres.store import Store, Transaction
from longboat.contract.broker import DEAD_KEPT
from longboat.contract.transfer import ROOM, ExportedJob
from longboat.core import codec
from longboat.core.job import State
from longboat.core.views import job_or_none

_AWAY = 1 << 62
"""The rank of an id that is remembered because its job was exported: it may come back."""

_TABLES = ("ready", "scheduled", "parked", "blocked")
"""Where jobs can be exported from."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[ExportedJob]).decode


class PostgresTransfer:
    """See the contract."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def export_jobs(self, name: str, ids: Sequence[str]) -> list[ExportedJob]:
        return self._store.write(lambda tx: _export(tx, name, ids))

    def unconfirmed(self) -> list[str]:
        return sorted(name for (name,) in self._store.call("SELECT name FROM @.exports"))

    def import_jobs(self, name: str, exported_jobs: Sequence[ExportedJob]) -> list[str]:
        return self._store.write(lambda tx: _import(tx, name, exported_jobs))

    def confirm(self, name: str) -> None:
        self._store.write(lambda tx: tx.run("DELETE FROM @.exports WHERE name = %(name)s", name=name))


def _export(tx: Transaction, name: str, ids: Sequence[str]) -> list[ExportedJob]:
    known = tx.run("SELECT jobs FROM @.exports WHERE name = %(name)s", name=name).fetchone()
    if known is not None:
        return _decode(known[0])
    found = views.find(tx, ids)
    parents = with_dependents(tx, [row.place for row in found.values()])
    chosen: list[views.FoundJob] = []
    room = ROOM
    for job_id in dict.fromkeys(ids):
        row = found.get(job_id)
        if row is None or row.place in parents or not _may_leave(row):
            continue
        room -= len(row.body or b"") + len(row.failures or b"")
        if room < 0 and chosen:
            break
        chosen.append(row)
    taken = _take(tx, chosen)
    if with_dependents(tx, list(taken)):
        raise psycopg.errors.SerializationFailure("a dependent was put while its parent was exported")
    exported_jobs = [taken[row.place] for row in chosen if row.place in taken]
    if exported_jobs:
        tx.run("INSERT INTO @.exports VALUES (%(name)s, %(exported_jobs)b)", name=name, exported_jobs=_encode(exported_jobs))
    return exported_jobs


def _may_leave(row: views.FoundJob) -> bool:
    job = job_or_none(row.body)
    if job and job.constraints and job.constraints.after:
        return False
    return row.state == State.DEAD.value or row.table in _TABLES


def _take(tx: Transaction, rows: Sequence[views.FoundJob]) -> dict[int, ExportedJob]:
    """Take these jobs out of the store: those that are still where they were found, by place."""
    exported_jobs: dict[int, ExportedJob] = {}
    for table in _TABLES:
        these = {row.place: row for row in rows if row.table == table}
        for gone in take_these(tx, table, list(these.values())) if these else ():
            exported_jobs[gone.place] = exported = _exported(these[gone.place])
            exported.worker_deaths = gone.worker_deaths
            exported.expires = None if gone.expires_at is None else gone.expires_at - tx.now
            exported.delay = max(0.0, (these[gone.place].due or 0.0) - tx.now)
    dead = {row.place: row for row in rows if row.state == State.DEAD.value}
    sql = "DELETE FROM @.ended WHERE place = ANY (%(places)b::bigint[]) AND state = 'dead' RETURNING place"
    for (place,) in tx.run(sql, places=sorted(dead)).fetchall() if dead else ():
        exported_jobs[place] = exported = _exported(dead[place])
        exported.dead = True
        tx.count(dead[place].queue, State.DEAD, -1)
    forget(tx, sorted(exported_jobs))
    sql = "UPDATE @.jobs SET rank = %(away)s WHERE place = ANY (%(places)b::bigint[])"
    tx.run(sql, away=_AWAY, places=sorted(exported_jobs))
    return exported_jobs


def _exported(row: views.FoundJob) -> ExportedJob:
    job = job_or_none(row.body)
    exported = ExportedJob(name_of(row.id or b""), row.body or b"", name_of(row.queue), job.priority if job else -row.rank)
    exported.attempts, exported.failures = row.attempts, codec.decode_failures(row.failures)
    return exported


def _import(tx: Transaction, name: str, exported_jobs: Sequence[ExportedJob]) -> list[str]:
    if not is_first(tx, (name, 1)):
        return [each.id for each in exported_jobs]
    jobs = [job_or_none(each.message) for each in exported_jobs]
    its = [(each.queue, each.priority, job) for each, job in zip(exported_jobs, jobs, strict=True)]
    places = fairness.places(tx, its)
    by_place = dict(zip(places, exported_jobs, strict=True))
    messages = [
        Message(place, each.id, each.queue, each.priority, each.message, job)
        for (place, each), job in zip(by_place.items(), jobs, strict=True)
    ]
    stored = store(tx, messages, but=f"(t.rank = {_AWAY} AND t.body IS NULL)")
    new = {place: each for place, each in by_place.items() if place in stored}
    rows = {place: _row(place, each, tx.now) for place, each in new.items()}
    enqueue(tx, [(rows[place], each.delay) for place, each in new.items() if not each.dead])
    end(tx, State.DEAD, [Ending(rows[place], DEAD_KEPT) for place, each in new.items() if each.dead])
    return [each.id for each in new.values()]


def _row(place: int, exported: ExportedJob, now: float) -> JobRow:
    return JobRow(
        place,
        raw(exported.queue),
        -exported.priority,
        exported.attempts,
        exported.worker_deaths,
        None if exported.expires is None else now + exported.expires,
        codec.encode_failures(exported.failures) if exported.failures else None,
    )
