"""The memory broker's jobs that are exported for another broker, or imported from one."""

from __future__ import annotations

import math
from collections.abc import Sequence

from msgspec import structs

from longboat.brokers.memory.record import Record
from longboat.brokers.memory.store import Store
from longboat.contract.transfer import ROOM, ExportedJob
from longboat.core.job import MESSAGE_VERSION, Job, State
from longboat.core.views import job_or_none


class MemoryTransfer:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._exported_jobs: dict[str, list[ExportedJob]] = {}
        self._away: dict[str, float] = {}
        """Ids that are remembered since their jobs were exported, and until when: these may come back."""

    def export_jobs(self, name: str, ids: Sequence[str]) -> list[ExportedJob]:
        with self._store.locked() as now:
            if name in self._exported_jobs:
                return list(self._exported_jobs[name])
            exported_jobs: list[ExportedJob] = []
            room = ROOM
            self._away = {job_id: until for job_id, until in self._away.items() if until > now}
            awaited = {parent for record in self._store.jobs.values() for parent in record.pending or ()}
            for job_id in dict.fromkeys(ids):
                record = self._store.jobs.get(job_id)
                if record is None or job_id in awaited or not _may_leave(record):
                    continue
                room -= len(record.message) + sum(len(each.traceback) + len(each.message) for each in record.failures)
                if room < 0 and exported_jobs:
                    break
                exported_jobs.append(_exported(record, now))
                self._store.delete(record, now)
                if until := self._store.memories.get(job_id):
                    self._away[job_id] = until
            if exported_jobs:
                self._exported_jobs[name] = exported_jobs
            return list(exported_jobs)

    def unconfirmed(self) -> list[str]:
        with self._store.locked():
            return sorted(self._exported_jobs)

    def import_jobs(self, name: str, exported_jobs: Sequence[ExportedJob]) -> list[str]:
        store, token = self._store, (name, 1)
        jobs = [_job(exported) for exported in exported_jobs]
        with store.locked() as now:
            if store.repeated(token, now):
                return [exported.id for exported in exported_jobs]
            store.constraints.check_parents(jobs, now)
            store.remember(token, now)
            new = []
            for job, exported in zip(jobs, exported_jobs, strict=True):
                if self._away.pop(exported.id, 0.0) == store.memories.get(exported.id):
                    del store.memories[exported.id]
                if store.known(exported.id, now):
                    continue
                store.add(job, exported.message, now)
                record = store.jobs[exported.id]
                record.attempts, record.worker_deaths = exported.attempts, exported.worker_deaths
                record.failures = list(exported.failures)
                if exported.dead:
                    store.end(record, State.DEAD, now)
                new.append(exported.id)
            return new

    def confirm(self, name: str) -> None:
        with self._store.locked():
            self._exported_jobs.pop(name, None)


def _may_leave(record: Record) -> bool:
    if record.constraints.after:
        return False
    return record.state is State.DEAD or not (record.state.ended or record.state is State.RUNNING)


def _exported(record: Record, now: float) -> ExportedJob:
    return ExportedJob(
        record.id,
        record.message,
        record.queue,
        record.priority,
        record.state is State.DEAD,
        max(0.0, record.due - now) if record.state is State.SCHEDULED else 0.0,
        None if record.expires == math.inf else record.expires - now,
        record.attempts,
        record.worker_deaths,
        record.failures,
    )


def _job(exported: ExportedJob) -> Job:
    """As it is to be put now."""
    return structs.replace(
        job_or_none(exported.message) or Job(MESSAGE_VERSION, exported.id, "", b""),
        id=exported.id,
        queue=exported.queue,
        priority=exported.priority,
        delay=0.0 if exported.dead else exported.delay,
        expires=None if exported.dead else exported.expires,
    )
