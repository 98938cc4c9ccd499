"""Jobs on their way into another broker, or out of one: whole, each way in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from longboat.brokers.sqlite import views
from longboat.brokers.sqlite.ending import Ending, end, forget
from longboat.brokers.sqlite.following import is_followed
from longboat.brokers.sqlite.places import is_here, is_remembered, new_place
from longboat.brokers.sqlite.put import is_next
from longboat.brokers.sqlite.store import Store, Transaction
from longboat.brokers.sqlite.sweep import remove
from longboat.brokers.sqlite.wake import CONSUMER, LISTENER, Ringer
from longboat.contract.broker import DEAD_KEPT
from longboat.contract.transfer import ROOM, Parcel
from longboat.core import codec
from longboat.core.job import State, order_of

_AWAY = 0
"""The place in time of an id that is remembered since its job was packed: it may come back."""

_TABLES = {State.READY: "ready", State.SCHEDULED: "delayed", State.WAITING: "parked"}

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Parcel]).decode


class SqliteTransit:
    def __init__(self, store: Store, ringer: Ringer) -> None:
        self._store = store
        self._ringer = ringer

    def pack(self, name: str, ids: Sequence[str]) -> list[Parcel]:
        with self._store.write() as tx:
            row = tx.run("SELECT parcels FROM transit WHERE name = ?", (name,)).fetchone()
            if row is not None:
                return _decode(row[0])
            found = views.find(tx.db, ids)
            parcels: list[Parcel] = []
            room = ROOM
            for job_id in dict.fromkeys(ids):
                job = found.get(job_id)
                if job is None or not _may_leave(job) or is_followed(tx, job.seq, job.id):
                    continue
                room -= len(job.body or b"") + len(job.failures or b"")
                if room < 0 and parcels:
                    break
                parcels.append(_taken(tx, job))
            if parcels:
                tx.run("INSERT INTO transit VALUES (?, ?)", (name, _encode(parcels)))
            return parcels

    def packed(self) -> list[str]:
        with self._store.read() as db:
            return [name for (name,) in db.execute("SELECT name FROM transit ORDER BY name")]

    def unpack(self, name: str, parcels: Sequence[Parcel]) -> list[str]:
        with self._store.write() as tx:
            if not is_next(tx, (name, 1)):
                return [parcel.id for parcel in parcels]
            new = [parcel.id for parcel in parcels if _put(tx, parcel)]
        self._ringer.ring(CONSUMER)
        self._ringer.ring(LISTENER)
        return new

    def delivered(self, name: str) -> None:
        with self._store.write() as tx:
            tx.run("DELETE FROM transit WHERE name = ?", (name,))


def _may_leave(row: views.Row) -> bool:
    state = State(row.state)
    job = views.decoded(row.body)
    if job and job.ties and job.ties.after:
        return False
    return state is State.DEAD or state in _TABLES


def _taken(tx: Transaction, row: views.Row) -> Parcel:
    """Out of the store."""
    state = State(row.state)
    job = views.decoded(row.body)
    parcel = Parcel(row.id, row.body or b"", row.queue, job.priority if job else -row.rank, attempts=row.attempts)
    parcel.failures = codec.decode_failures(row.failures)
    if state is State.DEAD:
        tx.run("DELETE FROM ended WHERE state = ? AND queue = ? AND n = ?", (row.state, row.queue, row.key))
        parcel.dead = True
    else:
        parcel.returns, expires_at = _removed(tx, _TABLES[state], row)
        parcel.expires = None if expires_at is None else expires_at - tx.now
        parcel.delay = max(0.0, (row.due or 0.0) - tx.now) if state is State.SCHEDULED else 0.0
    forget(tx, "SELECT :seq, :id AS id", {"seq": row.seq, "id": row.id})
    tx.run("UPDATE names SET seq = ? WHERE id = ?", (_AWAY, row.id))
    tx.count(row.queue, state, -1)
    return parcel


def _removed(tx: Transaction, table: str, row: views.Row) -> Any:
    where = "queue = ? AND rank = ? AND seq = ? AND id = ?" if table == "ready" else "seq = ? AND id = ?"
    values = (row.queue, row.rank, row.seq, row.id) if table == "ready" else (row.seq, row.id)
    found = tx.run(f"SELECT returns, expires_at FROM {table} WHERE {where}", values).fetchone()
    remove(tx, table, row.queue, row.rank, row.seq, row.id)  # its RETURNING gives integers as floats in SQLite 3.40
    return found


def _put(tx: Transaction, parcel: Parcel) -> bool:
    """Whether it was new."""
    generated = order_of(parcel.id)
    named = tx.run("SELECT seq FROM names WHERE id = ?", (parcel.id,)).fetchone()
    if named is not None and named[0] == _AWAY:
        tx.run("DELETE FROM names WHERE id = ?", (parcel.id,))
    if is_remembered(tx, parcel.id) or (generated is not None and is_here(tx, generated, parcel.id)):
        return False
    job = views.decoded(parcel.message)
    seq = new_place(tx, parcel.id, parcel.queue, -parcel.priority, job.ties.turn if job and job.ties else "")
    tx.run("INSERT INTO jobs VALUES (?, ?, ?)", (seq, parcel.id, parcel.message))
    failures = codec.encode_failures(parcel.failures) if parcel.failures else None
    if parcel.dead:
        ending = Ending(parcel.queue, seq, parcel.id, None, parcel.attempts, failures, DEAD_KEPT)
        end(tx, State.DEAD, [ending])
        return True
    values = {
        "queue": parcel.queue,
        "rank": -parcel.priority,
        "seq": seq,
        "id": parcel.id,
        "due": tx.now + parcel.delay,
        "attempts": parcel.attempts,
        "returns": parcel.returns,
        "expires": None if parcel.expires is None else tx.now + parcel.expires,
        "failures": failures,
    }
    if parcel.delay > 0:
        tx.run(
            "INSERT INTO delayed VALUES (:due, :seq, :id, :queue, :rank, :attempts, :returns, :expires, :failures)", values
        )
    else:
        tx.run("INSERT INTO ready VALUES (:queue, :rank, :seq, :id, :attempts, :returns, :expires, :failures)", values)
    tx.count(parcel.queue, State.SCHEDULED if parcel.delay > 0 else State.READY, 1)
    return True
