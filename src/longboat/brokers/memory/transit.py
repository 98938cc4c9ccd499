"""The memory broker's jobs on their way into another broker, or out of one."""

from __future__ import annotations

import math
from collections.abc import Sequence

from msgspec import structs

from longboat.brokers.memory.store import Record, Store
from longboat.contract.transfer import ROOM, Parcel
from longboat.core.codec import decode_job
from longboat.core.job import MESSAGE_VERSION, Job, State
from longboat.errors import Undecodable


class MemoryTransit:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._parcels: dict[str, list[Parcel]] = {}
        self._away: dict[str, float] = {}
        """Ids that are remembered since their jobs were packed, and until when: these may come back."""

    def pack(self, name: str, ids: Sequence[str]) -> list[Parcel]:
        with self._store.turn() as now:
            if name in self._parcels:
                return list(self._parcels[name])
            parcels: list[Parcel] = []
            room = ROOM
            self._away = {job_id: until for job_id, until in self._away.items() if until > now}
            awaited = {parent for record in self._store.jobs.values() for parent in record.pending or ()}
            for job_id in dict.fromkeys(ids):
                record = self._store.jobs.get(job_id)
                if record is None or job_id in awaited or not _may_leave(record):
                    continue
                room -= len(record.message) + sum(len(each.traceback) + len(each.message) for each in record.failures)
                if room < 0 and parcels:
                    break
                parcels.append(_parcel(record, now))
                self._store.delete(record, now)
                if until := self._store.memories.get(job_id):
                    self._away[job_id] = until
            if parcels:
                self._parcels[name] = parcels
            return list(parcels)

    def packed(self) -> list[str]:
        with self._store.turn():
            return sorted(self._parcels)

    def unpack(self, name: str, parcels: Sequence[Parcel]) -> list[str]:
        store, token = self._store, (name, 1)
        jobs = [_job(parcel) for parcel in parcels]
        with store.turn() as now:
            if store.repeated(token, now):
                return [parcel.id for parcel in parcels]
            store.bonds.check_parents(jobs, now)
            store.remember(token, now)
            new = []
            for job, parcel in zip(jobs, parcels, strict=True):
                if self._away.pop(parcel.id, 0.0) == store.memories.get(parcel.id):
                    del store.memories[parcel.id]
                if store.known(parcel.id, now):
                    continue
                store.add(job, parcel.message, now)
                record = store.jobs[parcel.id]
                record.attempts, record.returns, record.failures = parcel.attempts, parcel.returns, list(parcel.failures)
                if parcel.dead:
                    store.end(record, State.DEAD, now)
                new.append(parcel.id)
            return new

    def delivered(self, name: str) -> None:
        with self._store.turn():
            self._parcels.pop(name, None)


def _may_leave(record: Record) -> bool:
    if record.ties.after:
        return False
    return record.state is State.DEAD or not (record.state.ended or record.state is State.RUNNING)


def _parcel(record: Record, now: float) -> Parcel:
    return Parcel(
        record.id,
        record.message,
        record.queue,
        record.priority,
        record.state is State.DEAD,
        max(0.0, record.due - now) if record.state is State.SCHEDULED else 0.0,
        None if record.expires == math.inf else record.expires - now,
        record.attempts,
        record.returns,
        record.failures,
    )


def _job(parcel: Parcel) -> Job:
    """As it is to be put now."""
    try:
        job = decode_job(parcel.message)
    except Undecodable:
        job = Job(MESSAGE_VERSION, parcel.id, "", b"")
    return structs.replace(
        job,
        id=parcel.id,
        queue=parcel.queue,
        priority=parcel.priority,
        delay=0.0 if parcel.dead else parcel.delay,
        expires=None if parcel.dead else parcel.expires,
    )
