"""Events: what happened, sent to listeners. An event only observes; no listener can harm a job."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

import msgspec

from longboat.core.job import Failure

BACKLOG = 10_000
"""Events that wait for one listener, at most; further ones are dropped."""


class _Moment(msgspec.Struct, kw_only=True, frozen=True, eq=False, gc=False, tag_field="kind"):
    at: float = msgspec.field(default_factory=time.time)
    """Wall-clock time, by the clock of the process that sends it."""


class Event(_Moment, frozen=True):
    """Something that happened. It is immutable. In JSON and between processes its kind is one of its fields."""

    worker: str
    """Who sends it: the name of a worker, or for enqueued jobs the caller's host:pid."""


class JobEvent(Event, frozen=True):
    """Something that happened to a job."""

    id: str
    """The job's id."""
    task: str
    """The name of its task."""
    queue: str
    """Its queue."""


class JobEnqueued(JobEvent, frozen=True, tag="job.enqueued"):
    """In the stream only."""

    delay: float = 0.0
    """Seconds before it may start."""


class JobStarted(JobEvent, frozen=True, tag="job.started"):
    """Sent once per attempt, up to a second late but before its end, to listeners of every job."""

    attempt: int
    """From 1."""


class JobProgressed(JobEvent, frozen=True, tag="job.progressed"):
    """In the stream only: the latest progress of a running job, a few times a second."""

    done: float
    """How much is done, in the job's own unit."""
    total: float | None
    """How much there is, where that is known."""
    text: str
    """What it is doing."""


class JobSucceeded(JobEvent, frozen=True, tag="job.succeeded"):
    """Sent to listeners of every job."""

    attempt: int
    """The attempt that succeeded, from 1."""
    seconds: float
    """How long that attempt took."""


class JobsSucceeded(Event, frozen=True, tag="jobs.succeeded"):
    """In the log of `longboat worker` only: how many jobs succeeded since it told last, when there are too many to name."""

    jobs: int
    """How many jobs succeeded."""
    tasks: dict[str, int]
    """How many of each task."""


class JobRetried(JobEvent, frozen=True, tag="job.retried"):
    """An attempt failed; the next one is made after `delay` seconds."""

    attempt: int
    """The attempt that failed, from 1."""
    failure: Failure
    """How it failed."""
    delay: float
    """Seconds until the next attempt."""


class JobDied(JobEvent, frozen=True, tag="job.died"):
    """An attempt failed, and there are none left."""

    attempt: int
    """The last attempt, from 1."""
    failure: Failure
    """How it failed."""


class JobCancelled(JobEvent, frozen=True, tag="job.cancelled"):
    """It was cancelled, or expired before it started."""

    reason: str
    """Who or what cancelled it, in words."""


class JobParked(JobEvent, frozen=True, tag="job.parked"):
    """It cannot run here and waits for a worker that it can run on: no task of that name is known, or `reason`."""

    reason: str = ""
    """Why its arguments do not fit the task as it is here."""


class JobsParked(Event, frozen=True, tag="jobs.parked"):
    """This worker has parked so many jobs of one task, which cannot run here. Told once a minute, and before it ends."""

    task: str
    """The name of the task."""
    jobs: int
    """How many."""
    known: list[str]
    """The tasks that it knows."""
    reason: str = ""
    """Why the arguments of the last one do not fit, if it is that."""
    elsewhere: bool = False
    """Whether a worker has told lately that it knows the task."""


class JobsLost(Event, frozen=True, tag="jobs.lost"):
    """Leases ran out while this worker ran these jobs; their outcomes no longer count."""

    jobs: int
    """How many."""


class WorkerStarted(Event, frozen=True, tag="worker.started"):
    """A worker takes jobs."""

    broker: str
    """The broker's URL, without its password."""
    queues: list[str]
    """Those that it serves; empty: every queue."""
    tasks: int
    """How many tasks it knows."""


class WorkerStopping(Event, frozen=True, tag="worker.stopping"):
    """A worker takes no more jobs."""

    running: int
    """How many jobs still run."""
    grace: float
    """Seconds that these may finish."""


class WorkerStopped(Event, frozen=True, tag="worker.stopped"):
    """A worker has ended."""

    jobs: int
    """Those that ended here: a job that is tried again counts once, with its last attempt."""


class BrokerDown(Event, frozen=True, tag="broker.down"):
    """Sent once per outage."""

    error: str
    """What the worker met."""


class BrokerUp(Event, frozen=True, tag="broker.up"):
    """The broker answers again."""

    seconds: float
    """How long it was down."""


class EventsDropped(Event, frozen=True, tag="events.dropped"):
    """In the stream only: about how many events were left out."""

    count: int
    """About how many."""


AnyEvent = (
    JobEnqueued
    | JobStarted
    | JobProgressed
    | JobSucceeded
    | JobRetried
    | JobDied
    | JobCancelled
    | JobParked
    | JobsParked
    | JobsLost
    | WorkerStarted
    | WorkerStopping
    | WorkerStopped
    | BrokerDown
    | BrokerUp
    | EventsDropped
)
"""Every kind of event, for match statements and for decoding."""


OFTEN = frozenset({JobStarted, JobSucceeded})
"""What every job brings, for listeners that ask for it."""


def plain(event: Event) -> dict[str, Any]:
    """An event as plain data, its kind first, as in JSON."""
    said = {"kind": type(event).__struct_config__.tag, **msgspec.structs.asdict(event)}
    if isinstance(event, JobRetried | JobDied):
        said["failure"] = msgspec.structs.asdict(event.failure)
    return said


class Bus:
    """Hands events to listeners in this process, each in its own thread: one that raises or hangs harms no job."""

    def __init__(self) -> None:
        self._listeners: list[_Listener] = []
        self.every_job = False
        """Whether any listener wants to hear of each job that starts or succeeds."""

    def listen(self, listener: Callable[[Event], None], *, every_job: bool = False) -> None:
        """Call this with each event, in order, from its own thread.

        At most BACKLOG events wait for it: while it hangs, later ones are dropped. `every_job`: include jobs that start and
        succeed, which costs about a microsecond per job.
        """
        self._listeners.append(_Listener(listener, every_job=every_job))
        self.every_job = self.every_job or every_job

    def emit(self, event: Event) -> None:
        often = type(event) in OFTEN
        for each in self._listeners:
            if each.every_job or not often:  # who does not want them is not woken, whoever else does
                each.tell(event)

    def flush(self, seconds: float) -> None:
        """Wait until the listeners have handled all events so far, at most this long."""
        until = time.monotonic() + seconds
        for each in self._listeners:
            each.flush(max(0.0, until - time.monotonic()))

    def after_fork(self) -> None:
        """In a child process: the threads are gone, and the events that wait are the parent's."""
        self._listeners = [_Listener(each.listener, every_job=each.every_job) for each in self._listeners]


class _Listener:
    """One listener, its queue and its thread, which starts with the first event."""

    def __init__(self, listener: Callable[[Event], None], *, every_job: bool) -> None:
        self.listener = listener
        self.every_job = every_job
        self.dropped = 0
        self._queue: SimpleQueue[Event | threading.Event] = SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def tell(self, event: Event) -> None:
        if self._queue.qsize() >= BACKLOG:
            self.dropped += 1
            return
        self._queue.put(event)
        if self._thread is None:
            self._start()

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="longboat-listener", daemon=True)
                self._thread.start()

    def flush(self, seconds: float) -> None:
        if self._thread is not None and self._thread is not threading.current_thread():
            reached = threading.Event()
            self._queue.put(reached)
            reached.wait(seconds)

    def _run(self) -> None:
        while True:
            event = self._queue.get()
            if isinstance(event, threading.Event):
                event.set()
                continue
            try:
                self.listener(event)
            except BaseException:  # SystemExit too: the listener still gets the next event
                with contextlib.suppress(Exception):  # raised by a log handler
                    logging.getLogger("longboat").exception("an event listener failed; jobs are not affected")
            if self.dropped:
                dropped, self.dropped = self.dropped, 0
                with contextlib.suppress(Exception):
                    logging.getLogger("longboat").warning("an event listener is too slow: %d events were dropped", dropped)
