"""Finisher: what becomes of a job once its call has replied: outcome, counts, events, and on to the settler."""

from __future__ import annotations

import random
from time import monotonic

from longboat.contract.broker import Lease, Settlement
from longboat.core import reasons
from longboat.core.clock import SYSTEM
from longboat.core.job import Cancelled, Dead, Done, Failure, Job, Outcome, Park, Retry
from longboat.executors.contract import BAD_PAYLOAD, Call, CallEnd, Reply
from longboat.observe.events import JobCancelled, JobDied, JobEvent, JobParked, JobRetried, JobSucceeded
from longboat.worker.in_flight import BIG, InFlight
from longboat.worker.outcomes import outcome_of
from longboat.worker.recorder import Recorder
from longboat.worker.status import Status
from longboat.worker.successes import Successes
from longboat.worker.worker_events import WorkerEvents


class Finisher:
    """The owner of all executors: `done` and `failed` are called from any of their threads."""

    def __init__(self, status: Status, in_flight: InFlight, events: WorkerEvents, recorder: Recorder) -> None:
        self.name = status.name
        self._in_flight = in_flight
        self._events = events
        self._recorder = recorder
        self.successes = Successes(status.name, recorder)
        self.failed = status.failed

    def done(self, call: Call, reply: Reply) -> None:
        in_flight = self._in_flight
        if in_flight.calls.pop(call, call) is call:
            return  # let go of: its lease was lost
        lease = call.lease
        in_flight.ended[call.task.settings.executor] += 1
        recorder = self._recorder
        recorder.seen = seen = recorder.seen + 1
        if seen >= recorder.next_sample and call.started:
            recorder.sample(call)
        events = self._events
        if events.every_job:
            events.ending(call)
        if reply.ending is CallEnd.RETURNED:
            if events.every_job:
                job, seconds = lease.job, monotonic() - call.started
                events.emit(JobSucceeded(self.name, job.id, job.task, job.queue, lease.attempt, seconds))
            if self.successes.room > 0:
                self.successes.note(call)
            if len(reply.result) > BIG:
                in_flight.big_results = True
            in_flight.settle(Settlement(lease, Done(reply.result)))
        else:
            self._not_returned(call, reply)
        if in_flight.room.asleep:
            in_flight.room.ring()

    def _not_returned(self, call: Call, reply: Reply) -> None:
        in_flight, lease = self._in_flight, call.lease
        misfit = reply.ending is CallEnd.REFUSED and reply.again and reply.failure is not None
        if misfit or reply.ending is CallEnd.UNSTARTED:
            in_flight.ended[call.task.settings.executor] -= 1
            in_flight.returned += 1
        if misfit and reply.failure is not None:
            in_flight.misfits.append((call, reply.failure))
        else:
            self.finish(lease, outcome_of(lease, call.settings, reply, random.random()))

    def finish(self, lease: Lease, outcome: Outcome) -> None:
        """Settle any outcome but a success, and tell of it."""
        job = lease.job
        about = self.name, job.id, job.task, job.queue
        told: JobEvent | None = None
        match outcome:
            case Retry(delay, failure):
                self._sign(failure, lease.attempt)
                told = JobRetried(*about, lease.attempt, failure, delay)
            case Dead(failure, counted):
                self._sign(failure, lease.attempt - (not counted))
                told = JobDied(*about, lease.attempt, failure)
            case Cancelled(failure):
                self._sign(failure, lease.attempt)
                told = JobCancelled(*about, failure.message)
            case Park(_, failure) if failure.type != reasons.PAUSED:
                told = JobParked(*about, failure.message if failure.type == BAD_PAYLOAD else "")
            case _:
                pass
        self._in_flight.settle(Settlement(lease, outcome))
        if told is not None:
            self._events.emit(told)

    def ended(self, job: Job, failure: Failure) -> None:
        """Count and tell of a job that the consumer itself has cancelled."""
        self._recorder.cancelled(job)
        self._events.emit(JobCancelled(self.name, job.id, job.task, job.queue, failure.message))

    def _sign(self, failure: Failure, attempt: int) -> None:
        failure.attempt, failure.at, failure.worker = attempt, SYSTEM.now(), self.name
