"""Jobs exported for another broker, or imported from one: whole, each way in one transaction."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from longboat.brokers.sqlite import rows, views
from longboat.brokers.sqlite.ending import EndedJob, end, forget
from longboat.brokers.sqlite.following import is_followed
from longboat.brokers.sqlite.places import is_known
from longboat.brokers.sqlite.put import add, is_next
from longboat.brokers.sqlite.rows import UNLEASED, Row
from longboat.brokers.sqlite.store import Store, Transaction
from longboat.brokers.sqlite.wake import Ringer
from longboat.contract.transfer import ROOM, ExportedJob
from longboat.core import codec
from longboat.core.job import State
from longboat.core.views import job_or_none

_AWAY = 0
"""The seq of an id that is remembered since its job was exported: it may come back."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[ExportedJob]).decode


class SqliteTransfer:
    def __init__(self, store: Store, ringer: Ringer) -> None:
        self._store = store
        self._ringer = ringer

    def export_jobs(self, name: str, ids: Sequence[str]) -> list[ExportedJob]:
        with self._store.write() as tx:
            row = tx.run("SELECT jobs FROM longboat_exports WHERE name = ?", (name,)).fetchone()
            if row is not None:
                return _decode(row[0])
            found = views.find(tx.db, ids)
            exported_jobs: list[ExportedJob] = []
            room = ROOM
            for job_id in dict.fromkeys(ids):
                job = found.get(job_id)
                if job is None or not _may_leave(job) or is_followed(tx, job.seq, job.id):
                    continue
                room -= len(job.message or b"") + len(job.failures or b"")
                if room < 0 and exported_jobs:
                    break
                exported_jobs.append(_taken(tx, job))
            if exported_jobs:
                tx.run("INSERT INTO longboat_exports VALUES (?, ?)", (name, _encode(exported_jobs)))
            return exported_jobs

    def unconfirmed(self) -> list[str]:
        with self._store.read() as db:
            return [name for (name,) in db.execute("SELECT name FROM longboat_exports ORDER BY name")]

    def import_jobs(self, name: str, exported_jobs: Sequence[ExportedJob]) -> list[str]:
        with self._store.write() as tx:
            if not is_next(tx, (name, 1)):
                return [exported.id for exported in exported_jobs]
            new = [exported.id for exported in exported_jobs if _put(tx, exported)]
        self._ringer.tell(consumers=True, listeners=True)
        return new

    def confirm(self, name: str) -> None:
        with self._store.write() as tx:
            tx.run("DELETE FROM longboat_exports WHERE name = ?", (name,))


def _may_leave(row: views.JobRow) -> bool:
    state = State(row.state)
    job = job_or_none(row.message)
    if job and job.constraints and job.constraints.after:
        return False
    return state is State.DEAD or state in UNLEASED


def _taken(tx: Transaction, row: views.JobRow) -> ExportedJob:
    """Out of the store."""
    state = State(row.state)
    job = job_or_none(row.message)
    exported = ExportedJob(row.id, row.message or b"", row.queue, job.priority if job else -row.rank, attempts=row.attempts)
    exported.failures = codec.decode_failures(row.failures)
    if state is State.DEAD:
        views.delete_ended(tx, row)
        exported.dead = True
    else:
        past = rows.find(tx, state, row.place)
        rows.remove(tx, state, past)
        exported.worker_deaths = past.worker_deaths
        exported.expires = None if past.expires_at is None else past.expires_at - tx.now
        exported.delay = max(0.0, (row.due or 0.0) - tx.now)
    forget(tx, "SELECT :seq, :id AS id", {"seq": row.seq, "id": row.id})
    tx.run("UPDATE longboat_places SET seq = ? WHERE id = ?", (_AWAY, row.id))
    return exported


def _put(tx: Transaction, exported: ExportedJob) -> bool:
    """Whether it was new."""
    tx.run("DELETE FROM longboat_places WHERE id = ? AND seq = ?", (exported.id, _AWAY))
    if is_known(tx, exported.id):
        return False
    expires = None if exported.expires is None else tx.now + exported.expires
    failures = codec.encode_failures(exported.failures) if exported.failures else None
    past = exported.attempts, exported.worker_deaths, expires, failures
    row = Row(exported.queue, -exported.priority, 0, exported.id, *past)
    row = add(tx, row, job_or_none(exported.message), exported.message)
    if exported.dead:
        end(tx, State.DEAD, [EndedJob(row.queue, row.seq, row.id, None, row.attempts, failures)])
    else:
        rows.insert(tx, row, exported.delay)
    return True
