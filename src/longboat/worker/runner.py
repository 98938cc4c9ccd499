"""Runner: makes calls of leases, and has the executors run them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from longboat.contract.broker import Lease
from longboat.core import reasons
from longboat.core.clock import SYSTEM
from longboat.core.constraints import LATER
from longboat.core.job import Dead, Failure, Job, Outcome, Park, Release
from longboat.errors import ConfigError
from longboat.executors.contract import BAD_PAYLOAD, Call, CallEnd, Reply
from longboat.executors.invoke import clip
from longboat.tasks.registry import Registry
from longboat.tasks.task import Settings, Task, settings_of
from longboat.worker.executor_set import ExecutorSet
from longboat.worker.finisher import Finisher
from longboat.worker.in_flight import InFlight
from longboat.worker.inputs import fill
from longboat.worker.outcomes import spent
from longboat.worker.pause_filter import PauseFilter
from longboat.worker.quarantine import Quarantine

PATIENCE = 7 * 86400.0
"""Seconds that a job waits for a worker that knows its task before it is dead."""


class Runner:
    """`take` belongs to the fetcher's thread; `stop`, `kill` and `let_go` to the heartbeat's."""

    def __init__(
        self,
        registry: Registry,
        in_flight: InFlight,
        pause_filter: PauseFilter,
        quarantine: Quarantine,
        executors: ExecutorSet,
        finisher: Finisher,
    ) -> None:
        self._registry = registry
        self._in_flight = in_flight
        self._pause_filter = pause_filter
        self._quarantine = quarantine
        self._executors = executors
        self._finisher = finisher

    def take(self, leases: Sequence[Lease]) -> None:
        """Settle what is not to run, set the suspects apart, submit the others."""
        batches: dict[str, list[Call]] = {}
        suspects: list[Call] = []
        for lease in leases:
            task = self._registry.get(lease.job.task)
            if task is None:
                failure = reasons.unknown_task(lease.job.task, PATIENCE, SYSTEM.now(), self._finisher.name)
                self._finisher.finish(lease, Park(PATIENCE, failure))
                continue
            settings = task.settings
            if self._pause_filter.rules and (held := self._pause_filter.hold(lease)) is not None:
                self._in_flight.misfits.append((Call(lease, task, settings), held))
                continue
            try:
                if lease.job.headers:
                    settings = settings_of(lease.job, settings)
                verdict = self._verdict(lease, task, settings)
            except ConfigError as error:
                verdict = Dead(Failure(BAD_PAYLOAD, str(error)))
            if verdict is not None:
                self._finisher.finish(lease, verdict)
            elif lease.worker_deaths:
                suspects.append(Call(lease, task, settings))
            else:
                batches.setdefault(settings.executor, []).append(Call(lease, task, settings))
        for name, calls in batches.items():
            self._in_flight.calls.update(dict.fromkeys(calls))
            self._executors.get(name).submit(calls)
        if suspects:
            self._in_flight.calls.update(dict.fromkeys(suspects))
            self._quarantine.add(suspects)

    def _verdict(self, lease: Lease, task: Task[..., Any], settings: Settings) -> Outcome | None:
        """The outcome of a job that is not to run; None for one that is, whose inputs are then in its payload."""
        if task.name in self._pause_filter.tasks:
            return self._pause_filter.park(lease)
        if lease.worker_deaths and (verdict := self._quarantine.verdict(lease, settings)) is not None:
            return verdict
        if (lease.worker_deaths or lease.attempt > 1) and (verdict := spent(lease, settings)) is not None:
            return verdict
        if lease.job.constraints is not None:
            job, limits = lease.job, lease.job.constraints.limits
            try:
                fill(lease)
                if LATER in limits:
                    limits, lease.job = task.limits_of(lease.job), job
                    return Release(limits=limits)
            except Exception as error:  # whatever it is, it is of this job alone
                return Dead(Failure(BAD_PAYLOAD, clip(f"its parents' results cannot be filled in: {error!r}")))
        return None

    def executor_of(self, lease: Lease) -> str | None:
        """The name of the executor that the job needs; None if its task is not known here."""
        task = self._registry.get(lease.job.task)
        return None if task is None else task.settings.executor

    def ended(self, job: Job, failure: Failure) -> None:
        """It was cancelled before it was leased."""
        self._finisher.ended(job, failure)

    def let_go(self) -> list[Call]:
        """The leases are lost: what runs is stopped, and its outcome dropped."""
        calls = list(self._in_flight.calls)
        self._in_flight.calls.clear()
        for call in calls:
            self.stop(call, CallEnd.CANCELLED)
        return calls

    def stop(self, call: Call, why: CallEnd) -> None:
        if self._quarantine.withdraw(call):
            self._finisher.done(call, Reply(why, failure=Failure(reasons.CANCELLED, "cancelled before it started")))
        else:
            self._executors.of(call).stop(call, why)

    def kill(self, call: Call) -> None:
        self._executors.of(call).kill(call)
