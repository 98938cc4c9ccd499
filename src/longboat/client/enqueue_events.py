"""EnqueueEvents: a calling process reports the jobs that it stored, as events and for metrics."""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable, Sequence

from longboat.contract.kv import KV
from longboat.contract.optional import Broadcasts
from longboat.core.clock import SYSTEM
from longboat.core.job import Job
from longboat.errors import BrokerError, Unsupported
from longboat.observe.events import JobEnqueued
from longboat.observe.metrics import OTHER
from longboat.observe.stream import LOOK, MOST, EventPublisher

IDLE = 10.0
"""Seconds without a new job after which the thread ends."""
NAMES = 1000
"""Pairs of queue and task that have a count of their own, as in a worker."""


class EnqueueEvents:
    """Its thread lives while jobs are stored, and looks once a second whether anybody listens. It delays no call."""

    def __init__(self, kv: KV, broadcasts: Callable[[], Broadcasts | None] = lambda: None) -> None:
        self.counts: dict[tuple[str, str], int] = {}
        """Jobs stored from here by (queue, task)."""
        self._publisher = EventPublisher(kv, f"{socket.gethostname()}:{os.getpid()}", broadcasts)
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._deaf = False
        """This broker has no KV."""
        self._closing = False
        self._last = 0.0

    def stored(self, jobs: Sequence[Job]) -> None:
        """These jobs were stored. Called by one thread at a time."""
        queue = task = ""
        count = 0
        for job in jobs:
            if job.task != task or job.queue != queue:
                self._count(queue, task, count)
                queue, task, count = job.queue, job.task, 0
            count += 1
        self._count(queue, task, count)
        if self._publisher.open:
            self._tell(jobs)
        with self._lock:
            self._last = SYSTEM.monotonic()
            if self._thread is None and not self._closing and not self._deaf:
                self._thread = threading.Thread(target=self._run, name="longboat-enqueue-events", daemon=True)
                self._thread.start()

    def close(self) -> None:
        self._closing = True
        self._wake.set()
        with self._lock:
            thread = self._thread
        if thread is not None:
            thread.join()

    def _count(self, queue: str, task: str, count: int) -> None:
        if count:
            name = queue, task
            if name not in self.counts and len(self.counts) >= NAMES:
                name = OTHER, OTHER
            self.counts[name] = self.counts.get(name, 0) + count

    def _tell(self, jobs: Sequence[Job]) -> None:
        publisher, now = self._publisher, SYSTEM.now()
        room = publisher.room
        for job in jobs[:room]:
            publisher.tell(JobEnqueued(publisher.who, job.id, job.task, job.queue, job.delay, at=job.enqueued or now))
        publisher.dropped += max(0, len(jobs) - room)

    def _run(self) -> None:
        while True:
            closing = self._closing
            now = SYSTEM.monotonic()
            try:
                due = self._publisher.run(now)
            except Unsupported:
                self._deaf = True
                return
            except BrokerError:
                due = SYSTEM.monotonic() + LOOK
            except Exception:
                logging.getLogger("longboat").exception("events could not be published; jobs are not affected")
                due = SYSTEM.monotonic() + LOOK
            with self._lock:
                told = self._publisher.room == MOST  # else a job was stored while this wrote
                if closing or (told and SYSTEM.monotonic() - self._last > IDLE):
                    self._thread, self._publisher.open = None, True
                    return
            self._wake.wait(max(0.0, due - SYSTEM.monotonic()))
