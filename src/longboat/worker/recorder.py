"""Recorder: adds up what became of jobs, and writes it as history: counts and latencies by time, failures by kind."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Sequence
from time import monotonic

from longboat.client.enqueue_events import NAMES
from longboat.contract.broker import Settlement
from longboat.contract.kv import ENTRY_LIMIT, KV, Entry
from longboat.core.clock import SYSTEM
from longboat.core.job import Cancelled, Dead, Done, Failure, Job, Retry
from longboat.executors.contract import Call
from longboat.observe.history import GRAINS, Grain, note_key
from longboat.observe.metrics import OTHER
from longboat.observe.sketch import put
from longboat.observe.tally import Slice, Tally, add_up, fitting
from longboat.worker.failures import Failures

EVERY = 2.0
"""Seconds between writes, about."""
SAMPLES = 1000
"""Calls a second whose latencies are all measured. Of more than that some are, and each stands for those before it."""
MOST = 4096
"""Calls that one sample stands for, at most."""
WAITING = 100_000
"""Samples that wait to be added up, at most."""
LARGEST = ENTRY_LIMIT // 4
"""Bytes of the names of queues and tasks that have a count of their own, at most."""
COARSE = 4
"""Where each process holds all entries: so many buckets of a sketch in one. Percentiles are at most 8 % off there."""
BEHIND = 30
"""Entries that wait while the broker fails, at most; the oldest are left out."""


class _Bucket:
    """One bucket of time that is being written, over and over under one key until its time is over."""

    def __init__(self, grain: Grain, start: float, key: str) -> None:
        self.grain = grain
        self.start = start
        self.key = key
        self.slice: Slice = {}


class Recorder:
    """A maintenance task. `settled` belongs to whoever has the settler's turn, `sample` to any thread."""

    def __init__(self, kv: KV, worker: str, step: int = 1) -> None:
        """`step`: how many buckets of a sketch are stored as one."""
        self._kv = kv
        self._step_stored = step
        self._writer = f"{worker[:200]}:{os.urandom(6).hex()}"
        """Unique: another process may have the same name, a restarted one for instance."""
        self._opened = 0
        self._lock = threading.Lock()
        self._fresh: Slice = {}
        """Since the last write."""
        self._totals: Slice = {}
        """Since the worker began, up to the last write."""
        self._names: set[tuple[str, str]] = set()
        self._size = 0
        """Bytes of these names: all stand in one entry."""
        self._open: dict[Grain, _Bucket] = {}
        self._unwritten: dict[_Bucket, None] = {}
        self._failures = Failures(kv)
        self.seen = 0
        """Calls that have replied. Several threads add to it without a lock: it only decides which are sampled."""
        self.next_sample = 0
        self._sampling = threading.Lock()
        self._samples: deque[tuple[str, str, str, float, float | None, int]] = deque(maxlen=WAITING)
        """Queue, task, which wait it is, seconds that it ran and that it waited (None: not known), and how many calls it
        stands for. No job: its arguments may be large."""
        self._step = 1
        self._sampled = 0
        self._second = 0.0, 0, 0
        """Since when samples are counted, how many calls had been seen then, how many samples may be taken at this step."""

    # --- while jobs run

    def settled(self, batch: Sequence[Settlement]) -> None:
        """Count these. Jobs of one kind come in rows, so that each costs next to nothing."""
        queue = task = None
        kind: object = None
        count = 0
        fails = False
        failed: list[tuple[Job, Failure]] = []
        with self._lock:
            for settlement in batch:
                job = settlement.lease.job
                if job.task is not task or job.queue != queue or type(settlement.outcome) is not kind:
                    if count and queue is not None and task is not None:
                        self._count(queue, task, kind, count)
                    queue, task, kind, count = job.queue, job.task, type(settlement.outcome), 0
                    fails = kind is Retry or kind is Dead
                count += 1
                if fails:
                    failed.append((job, settlement.outcome.failure))  # type: ignore[union-attr]  # Retry or Dead
            if count and queue is not None and task is not None:
                self._count(queue, task, kind, count)
        for each in failed:
            self._failures.add(*each)

    def cancelled(self, job: Job) -> None:
        """Count one that was cancelled and never leased."""
        with self._lock:
            self._count(job.queue, job.task, Cancelled, 1)

    def _count(self, queue: str, task: str, kind: object, count: int) -> None:
        tally = self._tally(queue, task)
        if kind is Done:
            tally.succeeded += count
        elif kind is Retry:
            tally.retried += count
        elif kind is Dead:
            tally.dead += count
        elif kind is Cancelled:
            tally.cancelled += count

    def _tally(self, queue: str, task: str) -> Tally:
        tally = self._fresh.get((queue, task))
        if tally is None:
            name = queue, task
            if name not in self._names:
                self._size += len(f"{queue}{task}".encode())
                if len(self._names) >= NAMES or self._size > LARGEST:
                    name = OTHER, OTHER
                self._names.add(name)
            tally = self._fresh.setdefault(name, Tally())
        return tally

    def sample(self, call: Call) -> None:
        """Take this call's latencies, for all since the last one that was sampled."""
        now = monotonic()
        job, ran = call.lease.job, now - call.started
        waited = SYSTEM.now() - ran - job.enqueued - job.delay
        first = job.enqueued and call.lease.attempt == 1
        with self._sampling:  # not the lock of those who count: a loop that runs jobs must not wait for them
            weight = max(1, self.seen - self._sampled)
            since, seen, left = self._second
            if now - since > 1:
                self._step = min(MOST, max(1, int((self.seen - seen) / (now - since) / SAMPLES)))
                since, seen, left = now, self.seen, SAMPLES
            elif not left:
                self._step, left = min(MOST, self._step * 2), SAMPLES
            self._second = since, seen, left - 1
            self._sampled, self.next_sample = self.seen, self.seen + self._step
            its = job.queue, job.task, _wait_of(job), ran, max(0.0, waited) if first else None, weight
            self._samples.append(its)

    def _take_samples(self) -> None:
        """Add them to what is fresh. Under the lock."""
        samples = self._samples
        if not samples:
            self.next_sample = 0  # it may be waiting for more calls than are made now
        for queue, task, kind, ran, waited, weight in [samples.popleft() for _ in range(len(samples))]:
            tally = self._tally(queue, task)
            put(tally.run, ran, weight)
            if waited is not None:
                put(getattr(tally, kind), waited, weight)

    def totals(self) -> Slice:
        """All since the worker began, for metrics. A copy."""
        found: Slice = {}
        with self._lock:
            self._take_samples()
            for part in (self._totals, self._fresh):
                add_up(found, part)
        return found

    # --- maintenance

    def run(self, now: float) -> float:
        with self._lock:
            self._take_samples()
            fresh, self._fresh = self._fresh, {}
            add_up(self._totals, fresh)
        if fresh:
            for grain in GRAINS:
                self._add(grain, fresh, now)
        for bucket in list(self._unwritten):
            self._kv.write(
                bucket.grain.namespace, [Entry(bucket.key, fitting(bucket.slice, self._step_stored), bucket.grain.keep)]
            )
            del self._unwritten[bucket]
        self._failures.write()
        return now + EVERY

    def _add(self, grain: Grain, fresh: Slice, now: float) -> None:
        """Add to the bucket of this time. What was done in the last seconds of a bucket counts to the next.

        Each bucket has a key of its own, so that a clock that was set back makes another entry, and overwrites none.
        """
        start = now // grain.width * grain.width
        bucket = self._open.get(grain)
        if bucket is None or bucket.start != start:
            self._opened += 1
            bucket = self._open[grain] = _Bucket(grain, start, note_key(start, f"{self._writer}:{self._opened}"))
        add_up(bucket.slice, fresh)
        self._unwritten[bucket] = None
        while len(self._unwritten) > BEHIND:
            del self._unwritten[next(iter(self._unwritten))]


def _wait_of(job: Job) -> str:
    """Where the wait of this job counts: what holds it back besides its queue has a sketch of its own."""
    held = job.constraints
    if held is not None and held.after:
        return "parents"
    return "limited" if held is not None and held.limits else "wait"
