"""WorkerEvents: a worker's events, for listeners in this process and for those in others."""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable, Collection, Mapping, Sequence

import msgspec

from longboat.core.clock import SYSTEM
from longboat.core.job import Job
from longboat.errors import BrokerError
from longboat.executors.contract import Call
from longboat.observe.events import OFTEN, Bus, Event, JobDied, JobParked, JobProgressed, JobRetried, JobsParked, JobStarted
from longboat.observe.stream import EventPublisher
from longboat.operate.misfits import Unknown, note_unknown
from longboat.tasks.handle import Progress
from longboat.tasks.record import NAMESPACE, decoded
from longboat.worker.in_flight import InFlight
from longboat.worker.parked import ParkedJobs
from longboat.worker.task_records import BELIEVED

LONGEST = 300
"""Characters of a text in the stream."""
TRACED = 10_000
"""Jobs of unknown tasks that one worker notes: all processes keep a copy of these entries."""


class WorkerEvents(Bus):
    """A maintenance task, and the bus of all services of one worker. `every_job` is up to date within a second."""

    def __init__(
        self, bus: Bus, publisher: EventPublisher, in_flight: InFlight, tasks: Collection[str] = (), *, traced: bool = False
    ) -> None:
        """`tasks`: the names of those that the worker knows. `traced`: jobs cannot be looked up, so it is noted which ones
        have another task."""
        super().__init__()
        self._tasks = tasks
        self._parked = ParkedJobs()
        self._left_to_trace = TRACED if traced else 0
        self._unknown: dict[str, Unknown] = {}
        self.publisher = publisher
        self._in_flight = in_flight
        self._bus = bus
        self._name = publisher.who
        self._lock = threading.Lock()
        self._started: set[Call] = set()
        """Calls in hand whose start was told."""
        self._left_out_from: int | None = None
        """How many calls had replied when the batch was full."""
        self.every_job = bus.every_job
        self.latest: Callable[[str], Progress | None] = lambda _: None
        """The newest progress of a job that was not told yet."""

    def emit(self, event: Event) -> None:
        if type(event) not in OFTEN:
            event = self._noted(event)
        self._bus.emit(event)
        if self.publisher.open:
            self._stream(event)

    def _noted(self, event: Event) -> Event:
        if isinstance(event, JobRetried | JobDied):
            # A copy: a listener that changes it must not change the job's own, which is not stored yet.
            return msgspec.structs.replace(event, failure=msgspec.structs.replace(event.failure))
        if isinstance(event, JobParked):
            self._parked.add(event.task, event.reason, SYSTEM.monotonic())
            if self._left_to_trace and not event.reason:
                self._left_to_trace -= 1
                with self._lock:
                    self._unknown[event.id] = Unknown(event.task, event.queue)
        return event

    def leave(self, last: Event, seconds: float, *, answers: bool) -> None:
        """Get what was not told yet, and this event, to the listeners, within so many seconds. `answers`: the broker."""
        self._tell_parked(math.inf, answers=answers)
        self.emit(last)
        if answers and self.publisher.open:
            with contextlib.suppress(BrokerError):
                self.publisher.run(SYSTEM.monotonic())
        self._bus.flush(seconds)

    def ending(self, call: Call) -> None:
        """A call ends: tell that it started, if that was not told yet, and how far it was."""
        with self._lock:
            if call in self._started:
                self._started.discard(call)
            elif call.started:
                self._tell_start(call)
        job = call.lease.job
        if self.publisher.open and (progress := self.latest(job.id)) is not None:
            self._tell_progress(job, progress)

    def progressed(self, said: Mapping[str, Progress]) -> None:
        """Tell the last progress of each job."""
        if not self.publisher.open:
            return
        jobs = {call.lease.job.id: call.lease.job for call in list(self._in_flight.calls)}
        for job_id, progress in said.items():
            if job := jobs.get(job_id):  # of one that has ended it was told then
                self._tell_progress(job, progress)

    def _tell_progress(self, job: Job, said: Progress) -> None:
        about = self._name, job.id, job.task, job.queue
        self.publisher.tell(JobProgressed(*about, said.done, said.total, said.text[:LONGEST], at=said.at))

    def run(self, now: float) -> float:
        if self._left_out_from is not None:
            left_out = self._in_flight.total() - self._left_out_from
            self.publisher.dropped += 2 * left_out  # that they started, and how they ended
            self._left_out_from = None
        elif self.every_job:
            self._tell_starts()
        else:
            with self._lock:
                self._started.clear()
        steady = SYSTEM.monotonic()
        self._tell_parked(steady)
        try:
            return now + self.publisher.run(steady) - steady
        finally:
            self.every_job = self._bus.every_job or self.publisher.open

    def _tell_parked(self, now: float, *, answers: bool = True) -> None:
        parked = self._parked.due(now)
        elsewhere = self._known_elsewhere([each.task for each in parked]) if parked and answers else set()
        known = sorted(self._tasks) if parked else []
        for task, jobs, reason, _ in parked:
            self.emit(JobsParked(self._name, task, jobs, known, reason, task in elsewhere))

        if self._unknown and answers:
            with self._lock:
                unknown, self._unknown = self._unknown, {}
            with contextlib.suppress(BrokerError):  # they are only told of
                note_unknown(self.publisher.kv, unknown)

    def _known_elsewhere(self, tasks: Sequence[str]) -> set[str]:
        """Those that a worker has told of lately."""
        try:
            records = zip(tasks, self.publisher.kv.read(NAMESPACE, tasks), strict=True)
        except BrokerError:  # it is down, or keeps no such records
            return set()
        since = SYSTEM.now() - BELIEVED
        return {task for task, value in records if (record := decoded(value)) is not None and record.told > since}

    def _tell_starts(self) -> None:
        with self._lock:
            self._started.intersection_update(list(self._in_flight.calls))
        for call in list(self._in_flight.calls):
            with self._lock:
                # A call that has ended meanwhile is no longer in hand, and its start was told then.
                if call.started and call not in self._started and call in self._in_flight.calls:
                    self._started.add(call)
                    self._tell_start(call)

    def _tell_start(self, call: Call) -> None:
        job = call.lease.job
        at = SYSTEM.now() - (SYSTEM.monotonic() - call.started)
        self.emit(JobStarted(self._name, job.id, job.task, job.queue, call.lease.attempt, at=at))

    def _stream(self, event: Event) -> None:
        if self.publisher.room <= 0 and not self._bus.every_job and self.every_job:
            self.every_job = False  # until the next batch, frequent events are left out, and only counted
            self._left_out_from = self._in_flight.total()
        if isinstance(event, (JobRetried, JobDied)):
            failure = msgspec.structs.replace(event.failure, message=event.failure.message[:LONGEST], traceback="")
            event = msgspec.structs.replace(event, failure=failure)
        self.publisher.tell(event)
