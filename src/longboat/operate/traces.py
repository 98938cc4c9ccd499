"""Traces: what is known of a job that the broker cannot look up by its id, from what workers and the job itself told."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

import msgspec

from longboat.contract import revoked
from longboat.contract.broker import Broker
from longboat.contract.kv import KV
from longboat.contract.revoked import Revocation
from longboat.core.codec import decoded
from longboat.core.job import State
from longboat.core.views import JobView, Page
from longboat.errors import Unsupported
from longboat.observe import history
from longboat.observe.history import FailureGroup
from longboat.operate import misfits
from longboat.tasks.handle import PROGRESS, Progress

LOOKED_AT = 10_000
"""Dead jobs among which one is looked for."""


class Finds(Protocol):
    """Of an inspector, what a search uses."""

    def counts(self) -> Mapping[tuple[str, State], int]: ...
    def find(self, ids: Sequence[str]) -> list[JobView | None]: ...
    def jobs(
        self, state: State, *, queue: str | None = None, task: str | None = None, after: str | None = None, limit: int = 100
    ) -> Page: ...


class Searched(Protocol):
    """A broker, or what keeps its answers for a while."""

    @property
    def inspector(self) -> Finds: ...
    @property
    def kv(self) -> KV: ...


class Trace(msgspec.Struct):
    """Empty where nothing was told: the job is queued, delayed or has ended, or never was."""

    id: str
    task: str = ""
    worker: str = ""
    """Who runs it, by a record up to two seconds old."""
    started: float | None = None
    """When that worker began it, in seconds since the epoch."""
    progress: Progress | None = None
    revoked: Revocation | None = None
    misfit: str = ""
    """Why no worker can run it yet."""
    unknown: misfits.Unknown | None = None
    """It has a task that no living worker knows."""
    failure: FailureGroup | None = None
    """Of a failed attempt of its own, if no other job has failed alike since."""


def trace(broker: Broker, job_id: str) -> Trace:
    """Costs a few reads of entries, and raises what they raise but Unsupported."""
    found = Trace(job_id, misfit=misfits.reason(broker.kv, job_id))
    try:
        found.progress = decoded(broker.kv.read(PROGRESS, [job_id])[0], Progress)
        found.revoked = decoded(broker.kv.read(revoked.NAMESPACE, [job_id])[0], Revocation)
        found.unknown = misfits.unknown(broker.kv, job_id)
        for record in history.workers(broker.kv):
            if found.unknown and found.unknown.task in record.tasks:
                found.unknown = None
            for running, task, started in record.running:
                if running == job_id:
                    found.task, found.worker, found.started = task, record.name, started
        found.failure = next((group for group in history.failure_groups(broker.kv) if group.job == job_id), None)
    except Unsupported:
        return found  # nothing is kept but jobs
    if found.failure is not None:
        found.task = found.failure.task
    return found


def dead(broker: Searched, ids: Collection[str] | None = None) -> list[JobView]:
    """The dead jobs that can be listed, or those of them with these ids. It may take a second or two."""
    try:
        page = broker.inspector.jobs(State.DEAD, limit=LOOKED_AT)
    except Unsupported:
        return []
    return [view for view in page.jobs if ids is None or view.id in ids]


def running(kv: KV) -> list[JobView]:
    """The jobs that workers tell they run, the longest-running first, where no broker lists them: without arguments.

    The queue is known of a worker that serves a single one. Of two that tell of one job the first has died.
    """
    views = [
        JobView(
            id=job_id,
            state=State.RUNNING,
            queue=record.queues[0] if len(record.queues) == 1 else "",
            task=task,
            priority=0,
            attempts=0,
            payload=b"",
            started=started,
            worker=record.name,
        )
        for record in history.workers(kv)
        for job_id, task, started in record.running
    ]
    latest = {view.id: view for view in sorted(views, key=_began)}
    return sorted(latest.values(), key=_began)


def _began(view: JobView) -> float:
    return view.started or 0.0
