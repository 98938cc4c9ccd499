"""Constraints between jobs: which wait for their parents, which a limit blocks, and whose turn it is by fairness keys."""

from __future__ import annotations

from collections.abc import Sequence

from longboat.brokers.memory.kv import MemoryKV
from longboat.brokers.memory.places import Places
from longboat.brokers.memory.record import Record
from longboat.brokers.memory.usage import LimitUsage
from longboat.contract.limit_numbers import NAMESPACE, at_present
from longboat.core.constraints import JobLimit
from longboat.core.job import Job, State
from longboat.errors import UnknownParent

FAIRNESS_KEYS_KEPT = 10_000
"""Fairness keys whose last place is known, about: a job of one that is forgotten starts a little sooner."""


class ConstraintTable:
    def __init__(self, places: Places, kv: MemoryKV) -> None:
        self._places = places
        self._kv = kv
        self._followers: dict[str, list[Record]] = {}
        """By parent: the jobs that wait for it."""
        self._last: dict[tuple[str, int, str], float] = {}
        """By queue, priority and fairness key: the place of the last job put."""
        self.usages: dict[str, LimitUsage] = {}

    # --- parents and fairness keys

    def check_parents(self, jobs: Sequence[Job], now: float) -> None:
        """Raises UnknownParent for a new job after one that is neither here nor before it."""
        before: set[str] = set()
        for job in jobs:
            if job.constraints and job.constraints.after and not self._places.known(job.id, now):
                for parent in job.constraints.after:
                    if parent not in self._places.jobs and parent not in before:
                        raise UnknownParent(f"job {job.id} comes after {parent}, which is not known here")
            before.add(job.id)

    def apply(self, record: Record) -> None:
        """To a new job: what it waits for, and its place."""
        if record.constraints.after:
            record.pending, record.inputs = set(), {}
        for name in record.constraints.after:
            assert record.pending is not None
            assert record.inputs is not None
            parent = self._places.jobs[name]
            if parent.state is State.SUCCEEDED:
                record.inputs[name] = parent.result or b""
            elif name not in record.pending:
                record.pending.add(name)
                self._followers.setdefault(name, []).append(record)
        if record.constraints.fairness_key:
            record.place = self._fair_place(record)

    def _fair_place(self, record: Record) -> float:
        """As far behind the queue's first job as its key has jobs waiting: so the keys alternate."""
        shelf = self._places.shelves.get((record.queue, State.READY))
        first = next(shelf.above((-record.priority,)), None) if shelf else None
        here = first[1] if first and first[0] == -record.priority else record.serial
        name = (record.queue, record.priority, record.constraints.fairness_key)
        self._last[name] = place = max(here, self._last.get(name, 0.0) + 1)
        return place

    def ended(self, record: Record, now: float) -> None:
        """If it succeeded, the jobs that come after it and wait for no other are ready, or scheduled."""
        if record.state is not State.SUCCEEDED:
            self.drop(record)
            return
        for follower in self._followers.pop(record.id, ()):
            assert follower.pending is not None
            assert follower.inputs is not None
            follower.inputs[record.id] = record.result or b""
            follower.pending.discard(record.id)
            if not follower.pending:
                self._places.place(follower, follower.delay, now)

    def drop(self, record: Record) -> None:
        """It waits for its parents no more, and the room that it was ready to use may unblock another."""
        for parent in record.pending or ():
            self._followers[parent].remove(record)
            if not self._followers[parent]:
                del self._followers[parent]
        record.pending = None
        for limit in record.constraints.limits:
            if usage := self.usages.get(limit.key):
                self.unblock(usage, self._places.clock.now())

    # --- limits

    def _limits(self, record: Record) -> Sequence[JobLimit]:
        """The job's, with their present numbers."""
        limits = record.constraints.limits
        if not any(limit.name for limit in limits):
            return limits
        values = self._kv.read(NAMESPACE, [limit.name for limit in limits])
        return [at_present(limit, value) for limit, value in zip(limits, values, strict=True)]

    def _limit(self, record: Record, usage: LimitUsage) -> JobLimit:
        return next(limit for limit in self._limits(record) if limit.key == usage.key)

    def block(self, record: Record, now: float) -> bool:
        """Whether one of its limits has no room; then it waits for that."""
        for limit in self._limits(record):
            usage = self.usages.setdefault(limit.key, LimitUsage(limit.key))
            if not usage.room(limit, now):
                self._places.take(record)
                record.parked, record.blocked = None, usage
                self._places.move(record, State.WAITING)
                self._set_alarm(usage, now)
                return True
        return False

    def enter(self, record: Record, now: float) -> None:
        for limit in self._limits(record):
            self.usages[limit.key].enter(limit, record.token, record, now)

    def leave(self, record: Record) -> None:
        for limit in record.constraints.limits:
            usage = self.usages[limit.key]
            usage.held.pop(record.token, None)
            self.unblock(usage, self._places.clock.now())

    def unblock(self, usage: LimitUsage, now: float) -> None:
        """There may be room: the first blocked jobs are ready again. Any for which there is none are blocked again."""
        for head in usage.heads():
            for record in usage.first(head.queue, usage.room(self._limit(head, usage), now)):
                self._places.move(record, State.READY)
        if usage.idle:
            self.usages.pop(usage.key, None)
        else:
            self._set_alarm(usage, now)

    def _set_alarm(self, usage: LimitUsage, now: float) -> None:
        opens = self.opens(usage, now)
        if opens is not None and opens != usage.alarm:
            usage.alarm = opens
            self._places.alarms.add((opens, next(self._places.serials), usage))

    def opens(self, usage: LimitUsage, now: float) -> float | None:
        """When it has room for the first of the jobs it blocks, if time alone keeps it full."""
        times = [usage.opens(self._limit(head, usage), now) for head in usage.heads()]
        return min((at for at in times if at is not None), default=None)

    def tidy(self, now: float) -> None:
        for usage in list(self.usages.values()):
            usage.room(JobLimit(""), now)  # what started long ago matters no more
            self.unblock(usage, now)
        if len(self._last) > FAIRNESS_KEYS_KEPT:
            self._last.clear()
