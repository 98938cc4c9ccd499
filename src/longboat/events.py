"""Events: what happened, told to whoever listens. An event only observes; a listener can harm no job."""

from __future__ import annotations

import logging
from collections.abc import Callable

import msgspec

from longboat.job import Failure


class Event(msgspec.Struct, eq=False):
    """Something that happened in a worker."""

    worker: str


class JobSucceeded(Event):
    """Told only to listeners that asked for every job (`Bus.listen(…, every_job=True)`)."""

    id: str
    task: str
    attempt: int
    seconds: float


class JobFailed(Event):
    """An attempt failed; the job is tried again after `delay` seconds, or is dead with None."""

    id: str
    task: str
    attempt: int
    failure: Failure
    delay: float | None


class JobCancelled(Event):
    id: str
    task: str
    reason: str


class JobParked(Event):
    """No task of that name is known here: the job waits for a worker that knows it."""

    id: str
    task: str


class JobsLost(Event):
    """Leases ran out while these jobs were in hand; what they still do counts no more."""

    jobs: int


class WorkerStarted(Event):
    broker: str
    queues: list[str]
    tasks: int


class WorkerStopping(Event):
    running: int
    grace: float


class WorkerStopped(Event):
    jobs: int


class BrokerDown(Event):
    """Told once for each outage."""

    error: str


class BrokerUp(Event):
    seconds: float
    """How long it was down."""


class Bus:
    """Hands events to listeners, in the thread in which they happen."""

    def __init__(self) -> None:
        self._listeners: list[Callable[[Event], None]] = []
        self.every_job = False
        """Whether anybody wants to hear of each job that succeeds."""

    def listen(self, listener: Callable[[Event], None], *, every_job: bool = False) -> None:
        self._listeners.append(listener)
        self.every_job = self.every_job or every_job

    def emit(self, event: Event) -> None:
        for listener in self._listeners:
            try:
                listener(event)
            except Exception:
                logging.getLogger("longboat").exception("an event listener failed; jobs go on")
