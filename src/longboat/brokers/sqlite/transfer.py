"""Jobs on their way into another broker, or out of one: whole, each way in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from longboat.brokers.sqlite import views
from longboat.brokers.sqlite.ending import EndedJob, end, forget
from longboat.brokers.sqlite.following import is_followed
from longboat.brokers.sqlite.places import is_here, is_remembered, new_place
from longboat.brokers.sqlite.put import is_next
from longboat.brokers.sqlite.store import Store, Transaction
from longboat.brokers.sqlite.sweep import remove
from longboat.brokers.sqlite.wake import CONSUMER, LISTENER, Ringer
from longboat.contract.broker import DEAD_KEPT
from longboat.contract.transfer import ROOM, ExportedJob
from longboat.core import codec
from longboat.core.job import State, order_of

_AWAY = 0
"""The place in time of an id that is remembered since its job was packed: it may come back."""

_TABLES = {State.READY: "ready", State.SCHEDULED: "delayed", State.WAITING: "parked"}

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[ExportedJob]).decode


class SqliteTransfer:
    def __init__(self, store: Store, ringer: Ringer) -> None:
        self._store = store
        self._ringer = ringer

    def export_jobs(self, name: str, ids: Sequence[str]) -> list[ExportedJob]:
        with self._store.write() as tx:
            row = tx.run("SELECT parcels FROM transit WHERE name = ?", (name,)).fetchone()
            if row is not None:
                return _decode(row[0])
            found = views.find(tx.db, ids)
            exported_jobs: list[ExportedJob] = []
            room = ROOM
            for job_id in dict.fromkeys(ids):
                job = found.get(job_id)
                if job is None or not _may_leave(job) or is_followed(tx, job.seq, job.id):
                    continue
                room -= len(job.body or b"") + len(job.failures or b"")
                if room < 0 and exported_jobs:
                    break
                exported_jobs.append(_taken(tx, job))
            if exported_jobs:
                tx.run("INSERT INTO transit VALUES (?, ?)", (name, _encode(exported_jobs)))
            return exported_jobs

    def unconfirmed(self) -> list[str]:
        with self._store.read() as db:
            return [name for (name,) in db.execute("SELECT name FROM transit ORDER BY name")]

    def import_jobs(self, name: str, exported_jobs: Sequence[ExportedJob]) -> list[str]:
        with self._store.write() as tx:
            if not is_next(tx, (name, 1)):
                return [exported.id for exported in exported_jobs]
            new = [exported.id for exported in exported_jobs if _put(tx, exported)]
        self._ringer.ring(CONSUMER)
        self._ringer.ring(LISTENER)
        return new

    def confirm(self, name: str) -> None:
        with self._store.write() as tx:
            tx.run("DELETE FROM transit WHERE name = ?", (name,))


def _may_leave(row: views.JobRow) -> bool:
    state = State(row.state)
    job = views.decoded(row.body)
    if job and job.constraints and job.constraints.after:
        return False
    return state is State.DEAD or state in _TABLES


def _taken(tx: Transaction, row: views.JobRow) -> ExportedJob:
    """Out of the store."""
    state = State(row.state)
    job = views.decoded(row.body)
    exported = ExportedJob(row.id, row.body or b"", row.queue, job.priority if job else -row.rank, attempts=row.attempts)
    exported.failures = codec.decode_failures(row.failures)
    if state is State.DEAD:
        tx.run("DELETE FROM ended WHERE state = ? AND queue = ? AND n = ?", (row.state, row.queue, row.key))
        exported.dead = True
    else:
        exported.worker_deaths, expires_at = _removed(tx, _TABLES[state], row)
        exported.expires = None if expires_at is None else expires_at - tx.now
        exported.delay = max(0.0, (row.due or 0.0) - tx.now) if state is State.SCHEDULED else 0.0
    forget(tx, "SELECT :seq, :id AS id", {"seq": row.seq, "id": row.id})
    tx.run("UPDATE names SET seq = ? WHERE id = ?", (_AWAY, row.id))
    tx.count(row.queue, state, -1)
    return exported


def _removed(tx: Transaction, table: str, row: views.JobRow) -> Any:
    where = "queue = ? AND rank = ? AND seq = ? AND id = ?" if table == "ready" else "seq = ? AND id = ?"
    values = (row.queue, row.rank, row.seq, row.id) if table == "ready" else (row.seq, row.id)
    found = tx.run(f"SELECT returns, expires_at FROM {table} WHERE {where}", values).fetchone()
    remove(tx, table, row.queue, row.rank, row.seq, row.id)  # its RETURNING gives integers as floats in SQLite 3.40
    return found


def _put(tx: Transaction, exported: ExportedJob) -> bool:
    """Whether it was new."""
    generated = order_of(exported.id)
    named = tx.run("SELECT seq FROM names WHERE id = ?", (exported.id,)).fetchone()
    if named is not None and named[0] == _AWAY:
        tx.run("DELETE FROM names WHERE id = ?", (exported.id,))
    if is_remembered(tx, exported.id) or (generated is not None and is_here(tx, generated, exported.id)):
        return False
    job = views.decoded(exported.message)
    seq = new_place(
        tx, exported.id, exported.queue, -exported.priority, job.constraints.fairness_key if job and job.constraints else ""
    )
    tx.run("INSERT INTO jobs VALUES (?, ?, ?)", (seq, exported.id, exported.message))
    failures = codec.encode_failures(exported.failures) if exported.failures else None
    if exported.dead:
        ending = EndedJob(exported.queue, seq, exported.id, None, exported.attempts, failures, DEAD_KEPT)
        end(tx, State.DEAD, [ending])
        return True
    values = {
        "queue": exported.queue,
        "rank": -exported.priority,
        "seq": seq,
        "id": exported.id,
        "due": tx.now + exported.delay,
        "attempts": exported.attempts,
        "returns": exported.worker_deaths,
        "expires": None if exported.expires is None else tx.now + exported.expires,
        "failures": failures,
    }
    if exported.delay > 0:
        tx.run(
            "INSERT INTO delayed VALUES (:due, :seq, :id, :queue, :rank, :attempts, :returns, :expires, :failures)", values
        )
    else:
        tx.run("INSERT INTO ready VALUES (:queue, :rank, :seq, :id, :attempts, :returns, :expires, :failures)", values)
    tx.count(exported.queue, State.SCHEDULED if exported.delay > 0 else State.READY, 1)
    return True
