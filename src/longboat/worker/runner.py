"""Runner: one attempt as a pipeline. Leases come in, go to the executor of their task, and go out as settlements."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from time import monotonic

from longboat.contract.broker import Lease, Settlement
from longboat.core import reasons
from longboat.core.clock import SYSTEM
from longboat.core.job import Cancelled, Dead, Done, Failure, Outcome, Park, Retry
from longboat.errors import Undecodable
from longboat.executors.contract import BAD_PAYLOAD, Call, CallEnd, Executor, Reply
from longboat.observe.events import JobCancelled, JobDied, JobParked, JobRetried, JobSucceeded
from longboat.tasks.task import ExecutorName, Registry
from longboat.worker.inputs import fill
from longboat.worker.outcomes import outcome_of, spent
from longboat.worker.pause_filter import PauseFilter
from longboat.worker.quarantine import Quarantine
from longboat.worker.recorder import Recorder
from longboat.worker.worker_events import WorkerEvents

NAMES: tuple[ExecutorName, ...] = ("async", "thread", "process")


class Runner:
    """`take` is the fetcher's; `done` is called by executors, from any of their threads."""

    def __init__(
        self,
        registry: Registry,
        executor: Callable[[str], Executor],
        settle: Callable[[Settlement], None],
        quarantine: Quarantine,
        worker_events: WorkerEvents,
        pause_filter: PauseFilter,
        recorder: Recorder,
        *,
        name: str,
        patience: float,
    ) -> None:
        self._registry = registry
        self._executor = executor
        self._settle = settle
        self._quarantine = quarantine
        self._feed = worker_events
        self._pause_filter = pause_filter
        self._recorder = recorder
        self._name = name
        self._patience = patience
        self.calls: dict[Call, None] = {}
        """All that is in hand and has not replied. Others read it by copying it, which is one operation."""
        self.ended: dict[str, int] = dict.fromkeys(NAMES, 0)
        """Calls that have replied, by executor: the fetcher measures its rates by them."""

    def take(self, leases: Sequence[Lease]) -> None:
        """resolve, refuse what has no attempt left, fill in results of parents, set the suspects apart, submit."""
        batches: dict[str, list[Call]] = {}
        suspects: list[Call] = []
        for lease in leases:
            task = self._registry.get(lease.job.task)
            if task is None:
                self._park(lease)
                continue
            if task.name in self._pause_filter.tasks:
                self._settle(Settlement(lease, self._pause_filter.park(lease)))
                continue
            if lease.worker_deaths or lease.attempt > 1:
                verdict = spent(lease, task.settings)
                if verdict is not None:
                    self._give(lease, verdict)
                    continue
            if lease.inputs and not self._filled(lease):
                continue
            call = Call(lease, task)
            if lease.worker_deaths:
                suspects.append(call)
            else:
                batches.setdefault(task.settings.executor, []).append(call)
        for name, calls in batches.items():
            self.calls.update(dict.fromkeys(calls))
            self._executor(name).submit(calls)
        if suspects:
            self.calls.update(dict.fromkeys(suspects))
            self._quarantine.add(suspects)

    def _filled(self, lease: Lease) -> bool:
        try:
            fill(lease)
        except Undecodable as error:
            self._give(lease, Dead(Failure(BAD_PAYLOAD, str(error))))
            return False
        return True

    def submit(self, call: Call) -> None:
        """The quarantine's: this one may run now."""
        self._executor(call.task.settings.executor).submit([call])

    def done(self, call: Call, reply: Reply) -> None:
        """outcome, events, settle."""
        if self.calls.pop(call, call) is call:
            return  # let go of: its lease was lost
        lease = call.lease
        self.ended[call.task.settings.executor] += 1
        recorder = self._recorder
        recorder.seen += 1
        if recorder.seen >= recorder.next_sample and call.started:
            recorder.sample(call)
        worker_events = self._feed
        if worker_events.every_job:
            worker_events.ending(call)
        if reply.ending is CallEnd.RETURNED:
            if worker_events.every_job:
                job, seconds = lease.job, monotonic() - call.started
                worker_events.emit(JobSucceeded(self._name, job.id, job.task, job.queue, lease.attempt, seconds))
            self._settle(Settlement(lease, Done(reply.result)))
            return
        self._give(lease, outcome_of(lease, call.task.settings, reply, random.random()))

    def let_go(self) -> list[Call]:
        """The leases are lost: what runs is stopped, and its outcome dropped."""
        calls = list(self.calls)
        self.calls.clear()
        for call in calls:
            self.stop(call, CallEnd.CANCELLED)
        return calls

    def stop(self, call: Call, why: CallEnd) -> None:
        if self._quarantine.withdraw(call):
            self.done(call, Reply(why, failure=Failure(reasons.CANCELLED, "cancelled before it started")))
        else:
            self._executor(call.task.settings.executor).stop(call, why)

    def kill(self, call: Call) -> None:
        self._executor(call.task.settings.executor).kill(call)

    def _park(self, lease: Lease) -> None:
        job = lease.job
        failure = reasons.unknown_task(job.task, self._patience, SYSTEM.now(), self._name)
        self._settle(Settlement(lease, Park(self._patience, failure)))
        self._feed.emit(JobParked(self._name, job.id, job.task, job.queue))

    def _give(self, lease: Lease, outcome: Outcome) -> None:
        if isinstance(outcome, Retry | Dead | Cancelled):
            failure = outcome.failure
            failure.attempt, failure.at, failure.worker = lease.attempt, SYSTEM.now(), self._name
            if isinstance(outcome, Dead) and not outcome.counted:
                failure.attempt -= 1
        self._settle(Settlement(lease, outcome))
        job = lease.job
        about = self._name, job.id, job.task, job.queue
        if isinstance(outcome, Retry):
            self._feed.emit(JobRetried(*about, lease.attempt, outcome.failure, outcome.delay))
        elif isinstance(outcome, Dead):
            self._feed.emit(JobDied(*about, lease.attempt, outcome.failure))
        elif isinstance(outcome, Cancelled):
            self._feed.emit(JobCancelled(*about, outcome.failure.message))
