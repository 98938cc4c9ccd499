"""Feed: a worker's events, for who listens in this process and for who listens in others."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping

import msgspec

from longboat.core.clock import SYSTEM
from longboat.errors import BrokerError
from longboat.executors.contract import Call
from longboat.observe.events import Bus, Event, JobDied, JobProgressed, JobRetried, JobStarted
from longboat.observe.stream import EventPublisher
from longboat.tasks.handle import Progress

LONGEST = 300
"""Characters of a text in the stream."""


class WorkerEvents(Bus):
    """A chore of the steward's, and the bus of all services of one worker. `every_job` is up to date within a second."""

    def __init__(self, bus: Bus, publisher: EventPublisher, name: str) -> None:
        super().__init__()
        self.publisher = publisher
        self.calls: Mapping[Call, None] = {}
        """The runner's: all that is in hand."""
        self.ended: Callable[[], int] = lambda: 0
        """How many calls have ended."""
        self._bus = bus
        self._name = name
        self._lock = threading.Lock()
        self._started: set[Call] = set()
        """Those in hand whose start was told."""
        self._left_out_from: int | None = None
        """How many calls had ended when the batch was full."""
        self.every_job = bus.every_job

    def emit(self, event: Event) -> None:
        if isinstance(event, JobRetried | JobDied):
            # A copy: what a listener does with it is nothing to the job, whose failure is not stored yet.
            event = msgspec.structs.replace(event, failure=msgspec.structs.replace(event.failure))
        self._bus.emit(event)
        if self.publisher.open:
            self._stream(event)

    def leave(self, seconds: float, *, answers: bool) -> None:
        """See that the last events are heard, within so many seconds; `answers`: whether the broker does."""
        if answers and self.publisher.open:
            with contextlib.suppress(BrokerError):
                self.publisher.run(SYSTEM.monotonic())
        self._bus.flush(seconds)

    def ending(self, call: Call) -> None:
        """Tell that it started, if that was not told yet."""
        with self._lock:
            if call in self._started:
                self._started.discard(call)
            elif call.started:
                self._tell_start(call)

    def progressed(self, said: Mapping[str, Progress]) -> None:
        """What jobs said last."""
        if not self.publisher.open:
            return
        jobs = {call.lease.job.id: call.lease.job for call in list(self.calls)}
        for job_id, progress in said.items():
            if job := jobs.get(job_id):
                text = progress.text[:LONGEST]
                self.publisher.tell(
                    JobProgressed(
                        self._name, job_id, job.task, job.queue, progress.done, progress.total, text, at=progress.at
                    )
                )

    def run(self, now: float) -> float:
        if self._left_out_from is not None:
            self.publisher.dropped += 2 * (self.ended() - self._left_out_from)  # that they started, and how they ended
            self._left_out_from = None
        elif self.every_job:
            self._tell_starts()
        else:
            with self._lock:
                self._started.clear()
        steady = SYSTEM.monotonic()
        try:
            return now + self.publisher.run(steady) - steady
        finally:
            self.every_job = self._bus.every_job or self.publisher.open

    def _tell_starts(self) -> None:
        with self._lock:
            self._started.intersection_update(list(self.calls))
        for call in list(self.calls):
            with self._lock:
                # One that has ended meanwhile is not in hand any more, and told of its start itself.
                if call.started and call not in self._started and call in self.calls:
                    self._started.add(call)
                    self._tell_start(call)

    def _tell_start(self, call: Call) -> None:
        job = call.lease.job
        at = SYSTEM.now() - (SYSTEM.monotonic() - call.started)
        self.emit(JobStarted(self._name, job.id, job.task, job.queue, call.lease.attempt, at=at))

    def _stream(self, event: Event) -> None:
        if self.publisher.room <= 0 and not self._bus.every_job and self.every_job:
            self.every_job = False  # until the next batch, what happens often is left out, and only counted
            self._left_out_from = self.ended()
        if isinstance(event, JobRetried | JobDied):
            failure = msgspec.structs.replace(event.failure, message=event.failure.message[:LONGEST], traceback="")
            event = msgspec.structs.replace(event, failure=failure)
        self.publisher.tell(event)
