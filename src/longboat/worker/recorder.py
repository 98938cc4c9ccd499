"""Recorder: adds up what became of jobs, and writes it to the board: counts and latencies by time, failures by kind."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from time import monotonic

import msgspec

from longboat.board import Board, Note
from longboat.broker import Settlement
from longboat.clock import SYSTEM
from longboat.executor import Call
from longboat.history import (
    FAILURES,
    FAILURES_KEPT,
    GRAINS,
    FailureGroup,
    Grain,
    Slice,
    Tally,
    bucket_of,
    fingerprint,
    note_key,
)
from longboat.job import Cancelled, Dead, Done, Failure, Job, Retry

EVERY = 2.0
"""Seconds between writes, about."""
SAMPLES = 2000
"""Calls a second whose latencies are taken, about; each stands for the others."""
MOST = 4096
"""Calls that one sample stands for, at most."""
GROUPS = 200
"""Groups of failures that wait to be written, at most."""


class Recorder:
    """A chore of the steward's. `settled` belongs to who holds the settler's turn, `sample` to any thread."""

    def __init__(self, board: Board, worker: str) -> None:
        self._board = board
        self._worker = worker
        self._lock = threading.Lock()
        self._fresh: Slice = {}
        """Since the last write."""
        self._failures: dict[str, tuple[int, str, Failure, str]] = {}
        """By fingerprint: how many, the task, the last one, its job."""
        self._totals: Slice = {}
        """Since the worker began, up to the last write."""
        self._open: dict[Grain, tuple[float, Slice]] = {grain: (0.0, {}) for grain in GRAINS}
        self._unwritten: set[Grain] = set()
        self.seen = 0
        """Calls that have replied. Several threads add to it without a lock: it only decides which are sampled."""
        self.next_sample = 0
        self._step = 1
        self._sampled = 0
        self._sampled_at = 0.0

    # --- while jobs run

    def settled(self, batch: Sequence[Settlement]) -> None:
        """Count these. Jobs of one kind come in rows, which costs next to nothing for each."""
        queue = task = None
        kind: object = None
        count = 0
        with self._lock:
            for settlement in batch:
                job, outcome = settlement.lease.job, settlement.outcome
                if job.task is not task or job.queue != queue or type(outcome) is not kind:
                    if count and queue is not None and task is not None:
                        self._count(queue, task, kind, count)
                    queue, task, kind, count = job.queue, job.task, type(outcome), 0
                count += 1
                if kind is Retry or kind is Dead:
                    self._fail(job, outcome.failure)  # type: ignore[union-attr]
            if count and queue is not None and task is not None:
                self._count(queue, task, kind, count)

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
            tally = self._fresh[queue, task] = Tally()
        return tally

    def _fail(self, job: Job, failure: Failure) -> None:
        name = fingerprint(job.task, failure)
        known = self._failures.get(name)
        if known is not None or len(self._failures) < GROUPS:
            self._failures[name] = (known[0] if known else 0) + 1, job.task, failure, job.id

    def sample(self, call: Call) -> None:
        """Take this call's latencies, for all since the last one that was sampled."""
        now = monotonic()
        job, ran = call.lease.job, now - call.started
        waited = SYSTEM.now() - ran - job.enqueued - job.delay
        with self._lock:
            weight = max(1, self.seen - self._sampled)
            self._step = min(self._step * 2, MOST) if now - self._sampled_at < 1 / SAMPLES else max(1, self._step // 2)
            self._sampled, self._sampled_at, self.next_sample = self.seen, now, self.seen + self._step
            tally = self._tally(job.queue, job.task)
            _put(tally.run, bucket_of(ran), weight)
            if job.enqueued and call.lease.attempt == 1:
                _put(tally.wait, bucket_of(max(0.0, waited)), weight)

    def totals(self) -> Slice:
        """All since the worker began: what metrics tell. A copy."""
        found: Slice = {}
        with self._lock:
            for part in (self._totals, self._fresh):
                for name, tally in part.items():
                    found.setdefault(name, Tally()).add(tally)
        return found

    # --- the chore

    def tend(self, now: float) -> float:
        with self._lock:
            fresh, self._fresh = self._fresh, {}
            failures, self._failures = self._failures, {}
            for name, tally in fresh.items():
                self._totals.setdefault(name, Tally()).add(tally)
        for grain in GRAINS:
            self._add(grain, fresh, now)
        for grain in list(self._unwritten):
            self._write(grain)
        for print_, (count, task, failure, job_id) in failures.items():
            self._write_failures(print_, count, task, failure, job_id)
        return now + EVERY

    def _add(self, grain: Grain, fresh: Slice, now: float) -> None:
        """The open bucket is written over until its time is over. What is done in its last seconds counts to the next."""
        start = now // grain.width * grain.width
        begun, slice_ = self._open[grain]
        if begun != start:
            slice_ = {}
            self._open[grain] = start, slice_
        if fresh:
            for name, tally in fresh.items():
                slice_.setdefault(name, Tally()).add(tally)
            self._unwritten.add(grain)

    def _write(self, grain: Grain) -> None:
        """What could not be written is tried again, as long as its bucket is the open one."""
        start, slice_ = self._open[grain]
        value = msgspec.msgpack.encode([(queue, task, tally) for (queue, task), tally in slice_.items()])
        self._board.write(grain.space, [Note(note_key(start, self._worker), value, grain.keep)])
        self._unwritten.discard(grain)

    def _write_failures(self, name: str, count: int, task: str, failure: Failure, job_id: str) -> None:
        while True:
            value = self._board.read(FAILURES, [name])[0]
            if value is None:
                group = FailureGroup(name, failure.type, "", task, 0, failure.at, failure.at, job_id)
            else:
                group = msgspec.msgpack.decode(value, type=FailureGroup)
            group.message, group.last, group.job = failure.message[:1000], failure.at, job_id
            group.count += count
            if self._board.swap(FAILURES, Note(name, msgspec.msgpack.encode(group), FAILURES_KEPT), old=value):
                return


def _put(histogram: list[int], place: int, weight: int) -> None:
    if len(histogram) <= place:
        histogram.extend([0] * (place + 1 - len(histogram)))
    histogram[place] += weight
