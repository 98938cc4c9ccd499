"""How jobs are tied to others: those that wait for their parents, limits that hold jobs back, and turns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from longboat.brokers.memory.limit import LimitUsage
from longboat.core.constraints import Constraints, JobLimit
from longboat.core.job import Job, State
from longboat.errors import UnknownParent

if TYPE_CHECKING:
    from longboat.brokers.memory.store import Record, Store

NO_TIES = Constraints()
TURNS_KEPT = 10_000
"""Turn keys whose last place is known, about: one that is forgotten has its next turn a little sooner."""


class Bonds:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._followers: dict[str, list[Record]] = {}
        """By parent: the jobs that wait for it."""
        self._turns: dict[tuple[str, int, str], float] = {}
        """By queue, priority and turn key: the place of the last one put."""
        self.usages: dict[str, LimitUsage] = {}

    # --- parents and turns

    def check_parents(self, jobs: Sequence[Job], now: float) -> None:
        """Raises UnknownParent for a new job after one that is neither here nor before it."""
        before: set[str] = set()
        for job in jobs:
            if job.constraints and job.constraints.after and not self._store.known(job.id, now):
                for parent in job.constraints.after:
                    if parent not in self._store.jobs and parent not in before:
                        raise UnknownParent(f"job {job.id} comes after {parent}, which is not known here")
            before.add(job.id)

    def tie(self, record: Record) -> None:
        """A new job: what it waits for, and its place."""
        if record.constraints.after:
            record.pending, record.inputs = set(), {}
        for name in record.constraints.after:
            assert record.pending is not None
            assert record.inputs is not None
            parent = self._store.jobs[name]
            if parent.state is State.SUCCEEDED:
                record.inputs[name] = parent.result or b""
            elif name not in record.pending:
                record.pending.add(name)
                self._followers.setdefault(name, []).append(record)
        if record.constraints.fairness_key:
            record.place = self._turn(record)

    def _turn(self, record: Record) -> float:
        """As far behind the queue's first as its key has jobs waiting: so the keys alternate."""
        shelf = self._store.shelves.get((record.queue, State.READY))
        first = next(shelf.above((-record.priority,)), None) if shelf else None
        here = first[1] if first and first[0] == -record.priority else record.serial
        name = (record.queue, record.priority, record.constraints.fairness_key)
        self._turns[name] = place = max(here, self._turns.get(name, 0.0) + 1)
        return place

    def ended(self, record: Record, now: float) -> None:
        """If it succeeded, those that come after it and wait for no other are ready, or scheduled."""
        if record.state is not State.SUCCEEDED:
            self.untie(record)
            return
        for follower in self._followers.pop(record.id, ()):
            assert follower.pending is not None
            assert follower.inputs is not None
            follower.inputs[record.id] = record.result or b""
            follower.pending.discard(record.id)
            if not follower.pending:
                self._store.place(follower, follower.delay, now)

    def untie(self, record: Record) -> None:
        """It waits for its parents no more, and limits that it stood ready for may let in another."""
        for parent in record.pending or ():
            self._followers[parent].remove(record)
            if not self._followers[parent]:
                del self._followers[parent]
        record.pending = None
        for limit in record.constraints.limits:
            if usage := self.usages.get(limit.key):
                self.unblock(usage, self._store.clock.now())

    # --- limits

    def keep_out(self, record: Record, now: float) -> bool:
        """Whether a limit holds it back; then it waits in that limit's line."""
        for limit in record.constraints.limits:
            usage = self.usages.setdefault(limit.key, LimitUsage(limit.key))
            if not usage.room(limit, now):
                self._store.take(record)
                record.parked, record.blocked = None, usage
                self._store.move(record, State.WAITING)
                self._ring_when_it_opens(usage, now)
                return True
        return False

    def enter(self, record: Record, now: float) -> None:
        for limit in record.constraints.limits:
            self.usages[limit.key].enter(limit, record.token, record, now)

    def leave(self, record: Record) -> None:
        for limit in record.constraints.limits:
            usage = self.usages[limit.key]
            usage.held.pop(record.token, None)
            self.unblock(usage, self._store.clock.now())

    def unblock(self, usage: LimitUsage, now: float) -> None:
        """There may be room: who waits in front goes back to its queue. What is too many lines up again."""
        for head in usage.heads():
            for record in usage.first(head, usage.room(_limit(head, usage), now)):
                self._store.move(record, State.READY)
        if usage.idle:
            self.usages.pop(usage.key, None)
        else:
            self._ring_when_it_opens(usage, now)

    def _ring_when_it_opens(self, usage: LimitUsage, now: float) -> None:
        opens = self.opens(usage, now)
        if opens is not None and opens != usage.rings:
            usage.rings = opens
            self._store.alarms.add((opens, next(self._store.serials), usage))

    def opens(self, usage: LimitUsage, now: float) -> float | None:
        """When it opens for the first of those who wait, if it is time that shuts it."""
        times = [usage.opens(_limit(head, usage), now) for head in usage.heads()]
        return min((at for at in times if at is not None), default=None)

    def tidy(self, now: float) -> None:
        for usage in list(self.usages.values()):
            usage.room(JobLimit(""), now)  # what started long ago matters no more
            self.unblock(usage, now)
        if len(self._turns) > TURNS_KEPT:
            self._turns.clear()


def _limit(record: Record, usage: LimitUsage) -> JobLimit:
    return next(limit for limit in record.constraints.limits if limit.key == usage.key)
