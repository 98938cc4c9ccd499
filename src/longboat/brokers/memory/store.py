"""What the memory broker keeps, and the one way a job goes from state to state. Everything here runs within a `turn`."""

from __future__ import annotations

import contextlib
import itertools
import math
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from msgspec import structs

from longboat.brokers.memory.bonds import NO_TIES, Bonds
from longboat.brokers.memory.kv import MemoryKV
from longboat.brokers.memory.limit import LimitUsage
from longboat.brokers.memory.shelf import Key, Shelf
from longboat.contract.broker import DEAD_KEPT, ENDED_KEPT, FORGOTTEN_AFTER, Token
from longboat.core.clock import Clock
from longboat.core.constraints import Constraints
from longboat.core.job import DEFAULT_KEEP, DEFAULT_QUEUE, FAILURES_KEPT, Failure, Job, Result, State, order_of
from longboat.core.reasons import CANCELLED, EXPIRED, WORKER_DIED

T = TypeVar("T")


class Watcher(Protocol):
    """Who waits for results."""

    def tell(self, result: Result) -> None: ...


@dataclass(eq=False, slots=True)
class Holder:
    """A consumer, as the store knows it."""

    id: str
    name: str
    queues: list[str]
    tasks: frozenset[str]
    lease: float
    deadline: float
    alive: bool = True
    nudged: bool = False
    """Its `receive` should return."""
    paused_queues: frozenset[str] = frozenset()
    paused_tasks: frozenset[str] = frozenset()
    held: dict[int, Record] = field(default_factory=dict)
    """What it leases, by the lease's token: a lease that is not here is not its own, or no longer."""


@dataclass(eq=False, slots=True)
class Record:
    """A job's message, and all that changes about it."""

    id: str
    message: bytes
    serial: int
    """Its place among those of the same priority."""
    queue: str = DEFAULT_QUEUE
    task: str = ""
    priority: int = 0
    keep: float = DEFAULT_KEEP
    expires: float = math.inf
    """When it is cancelled, if it waits; infinite once an attempt was charged."""
    state: State = State.READY
    due: float = 0.0
    """When a scheduled one becomes ready, or a waiting one dead."""
    key: Key = ()
    alarm: Key = ()
    attempts: int = 0
    failures: list[Failure] = field(default_factory=list)
    result: bytes | None = None
    started: float | None = None
    ended: float = 0.0
    holder: Holder | None = None
    token: int = 0
    noted: bool = False
    """Its consumer said that it has started."""
    worker_deaths: int = 0
    unwanted: bool = False
    """Its cancellation was asked for while it was leased."""
    parked: Failure | None = None
    constraints: Constraints = NO_TIES
    place: float = 0.0
    """Where it stands among those of its priority; of equal ones the one with the lower serial is first."""
    delay: float = 0.0
    pending: set[str] | None = None
    """Parents that have not succeeded yet."""
    inputs: dict[str, bytes] | None = None
    blocked: LimitUsage | None = None
    """In whose line it waits."""

    def outcome(self) -> Result:
        failure = None if self.state is State.SUCCEEDED else self.failures[-1]
        return Result(self.id, self.state, self.result, failure, self.task, self.attempts)


class Store:
    """Records on shelves: one for each (queue, state) in the order that the state is read in."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.changed = threading.Condition()
        self.jobs: dict[str, Record] = {}
        self.shelves: dict[tuple[str, State], Shelf] = {}
        self.parked: dict[tuple[str, str], Shelf] = {}
        """The waiting ones again, by queue and task, in the order they are received in."""
        self.alarms = Shelf()
        """(when, serial, record or holder): when time alone changes it."""
        self.over = Shelf()
        """(when, serial, record): when an ended one may be forgotten."""
        self.holders: dict[str, Holder] = {}
        self.watchers: dict[str, set[Watcher]] = {}
        self.memories: dict[str, float] = {}
        """Ids chosen by callers whose jobs are gone, and until when they are remembered."""
        self.tokens: dict[str, tuple[int, float]] = {}
        """For each client the number of its last put, and until when that is remembered."""
        self.serials = itertools.count(1)
        self.bonds = Bonds(self)
        self.kv = MemoryKV(clock)

    @contextlib.contextmanager
    def locked(self) -> Iterator[float]:
        """Have the store to oneself, with what is due done. Gives the time."""
        with self.changed:
            now = self.clock.now()
            while (first := self.alarms.first()) and first[0] <= now:
                self.alarms.remove(first)
                thing = first[2]
                if isinstance(thing, Holder):
                    self._hear(thing, first[1], now)
                elif isinstance(thing, LimitUsage):
                    self.bonds.unblock(thing, now)
                else:
                    thing.alarm = ()
                    self._ring(thing, now)
            yield now

    def _hear(self, holder: Holder, serial: int, now: float) -> None:
        if not holder.alive:
            return
        if holder.deadline > now:
            self.alarms.add((holder.deadline, serial, holder))
            return
        who = holder.name or holder.id
        self.evict(holder, Failure(WORKER_DIED, f"{who} was not heard of for {holder.lease:g} s", at=now, worker=who), now)

    def _ring(self, record: Record, now: float) -> None:
        if record.expires <= now:
            self.end(record, State.CANCELLED, now, Failure(EXPIRED, "it expired before it started", at=now))
        elif record.state is State.SCHEDULED:
            self.move(record, State.READY)
        elif record.parked is not None:
            self.end(record, State.DEAD, now, record.parked)

    # --- putting

    def known(self, job_id: str, now: float) -> bool:
        return job_id in self.jobs or self.memories.get(job_id, 0.0) > now

    def repeated(self, token: Token, now: float) -> bool:
        """Whether this put was stored before."""
        client, number = token
        last, until = self.tokens.get(client, (number - 1, math.inf))
        return number <= last and now < until

    def remember(self, token: Token, now: float) -> None:
        client, number = token
        self.tokens.pop(client, None)  # so that the dict stays in the order of time
        self.tokens[client] = (number, now + FORGOTTEN_AFTER)

    def add(self, job: Job, message: bytes, now: float) -> None:
        record = Record(job.id, message, next(self.serials), job.queue, job.task, job.priority, job.keep)
        record.place, record.delay, record.constraints = record.serial, job.delay, job.constraints or record.constraints
        if job.expires is not None:
            record.expires = now + job.expires
        self.jobs[job.id] = record
        self.bonds.tie(record)
        self.place(record, job.delay, now)

    # --- from state to state

    def place(self, record: Record, delay: float, now: float) -> None:
        if record.pending:
            record.due = math.inf
            self.move(record, State.WAITING)
            return
        record.due = now + delay
        self.move(record, State.SCHEDULED if delay > 0 else State.READY)

    def move(self, record: Record, state: State) -> None:
        """Take the record off its shelf and put it on another."""
        self.take(record)
        record.state = state
        record.started = record.started if state is State.RUNNING or state.ended else None
        record.key = _key(record)
        self.shelves.setdefault((record.queue, state), Shelf()).add(record.key)
        if state is State.WAITING and record.parked is not None:
            self.parked.setdefault((record.queue, record.task), Shelf()).add(ready_key(record))
        elif state is State.WAITING and record.blocked is not None:
            record.due = math.inf
            record.blocked.line_up(record.queue, ready_key(record))
        if state.ended:
            self.over.add((self._kept_until(record), record.serial, record))
        elif state is not State.RUNNING:
            when = record.expires if state is State.READY else min(record.due, record.expires)
            if when < math.inf:
                record.alarm = (when, record.serial, record)
                self.alarms.add(record.alarm)
            self.changed.notify_all()

    def take(self, record: Record) -> None:
        if not record.key:
            return
        _drop(self.shelves, (record.queue, record.state), record.key)
        record.key = ()
        if record.state is State.WAITING and record.parked is not None:
            _drop(self.parked, (record.queue, record.task), ready_key(record))
        elif record.state is State.WAITING and record.blocked is not None:
            record.blocked.leave_line(record.queue, ready_key(record))
            record.blocked = None
        if record.state.ended:
            self.over.remove((self._kept_until(record), record.serial, record))
        if record.alarm:
            self.alarms.remove(record.alarm)
            record.alarm = ()

    @staticmethod
    def _kept_until(record: Record) -> float:
        """`keep` counts for successes: what was cancelled is told even of jobs whose results nobody keeps."""
        if record.state is State.DEAD:
            return record.ended + DEAD_KEPT
        return record.ended + (record.keep if record.state is State.SUCCEEDED else record.keep or DEFAULT_KEEP)

    def lease(self, record: Record, holder: Holder, now: float) -> None:
        self.move(record, State.RUNNING)
        record.holder, record.token, record.started, record.noted = holder, next(self.serials), now, False
        holder.held[record.token] = record
        record.parked = None
        self.bonds.enter(record, now)

    def unlease(self, record: Record) -> None:
        if record.holder is None:
            return
        del record.holder.held[record.token]
        record.holder = None
        self.bonds.leave(record)

    def count_attempt(self, record: Record, failure: Failure | None = None) -> None:
        record.attempts += 1
        record.expires = math.inf
        if failure is not None:
            record.failures = [*record.failures, failure][-FAILURES_KEPT:]

    def come_back(self, record: Record, delay: float, now: float) -> None:
        self.unlease(record)
        if record.unwanted:
            self.cancel(record, now)
        else:
            self.place(record, delay, now)

    def cancel(self, record: Record, now: float) -> None:
        self.end(record, State.CANCELLED, now, Failure(CANCELLED, "its cancellation was asked for", at=now))

    def end(self, record: Record, state: State, now: float, failure: Failure | None = None) -> None:
        """End it, with `failure` recorded; tells who waits for it."""
        self.unlease(record)
        if failure is not None:
            record.failures = [*record.failures, failure][-FAILURES_KEPT:]
        record.ended, record.unwanted = now, False
        self.move(record, state)
        record.parked = None
        for watcher in self.watchers.pop(record.id, ()):
            watcher.tell(record.outcome())
            self.changed.notify_all()
        self.bonds.ended(record, now)
        if state is State.SUCCEEDED and record.keep <= 0:
            self.delete(record, now)
        else:
            self._bound(record.queue, state, now)

    def _bound(self, queue: str, state: State, now: float) -> None:
        kind = [State.DEAD] if state is State.DEAD else [State.SUCCEEDED, State.CANCELLED]
        shelves = [shelf for each in kind if (shelf := self.shelves.get((queue, each)))]
        if sum(len(shelf) for shelf in shelves) > ENDED_KEPT:
            oldest = max(key for shelf in shelves if (key := shelf.last()))
            self.delete(oldest[-1], now)

    def evict(self, holder: Holder, failure: Failure, now: float) -> int:
        """What it holds comes back, what of it had started charged with `failure`."""
        holder.alive = False
        self.holders.pop(holder.id, None)
        records = list(holder.held.values())
        for record in records:
            if record.noted:
                self.count_attempt(record, structs.replace(failure, attempt=record.attempts + 1))
            record.worker_deaths += 1
            self.come_back(record, 0.0, now)
        self.changed.notify_all()
        return len(records)

    # --- forgetting

    def delete(self, record: Record, now: float) -> None:
        self.take(record)
        self.bonds.untie(record)
        del self.jobs[record.id]
        until = (record.ended or now) + FORGOTTEN_AFTER
        if order_of(record.id) is None and until > now:
            self.memories[record.id] = until

    def prune(self, limit: int, now: float) -> int:
        pruned = 0
        while pruned < limit and (first := self.over.first()) and first[0] <= now:
            self.delete(first[2], now)
            pruned += 1
        while pruned < limit and self.memories and self.memories[oldest := next(iter(self.memories))] <= now:
            del self.memories[oldest]
            pruned += 1
        while pruned < limit and self.tokens and self.tokens[client := next(iter(self.tokens))][1] <= now:
            del self.tokens[client]
            pruned += 1
        self.bonds.tidy(now)
        self.kv.prune(now)
        return pruned


def ready_key(record: Record) -> Key:
    return (-record.priority, record.place, record.serial, record)


def _key(record: Record) -> Key:
    if record.state is State.READY:
        return ready_key(record)
    if record.state is State.SCHEDULED:
        return (record.due, record.serial, record)
    if record.state.ended:
        return (-record.ended, -record.serial, record)
    return (0, record.serial, record)


def _drop(shelves: dict[T, Shelf], name: T, key: Key) -> None:
    shelf = shelves[name]
    shelf.remove(key)
    if not shelf:
        del shelves[name]
