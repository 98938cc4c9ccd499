"""The one way a job goes from state to state in memory."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator
from typing import Protocol

from msgspec import structs

from longboat.brokers.memory.constraints import ConstraintTable
from longboat.brokers.memory.kv import MemoryKV
from longboat.brokers.memory.places import Places
from longboat.brokers.memory.record import Holder, Record
from longboat.brokers.memory.usage import LimitUsage
from longboat.contract.broker import ENDED_KEPT, FORGOTTEN_AFTER, Token
from longboat.core import reasons
from longboat.core.clock import Clock
from longboat.core.codec import decode_job, encode_job
from longboat.core.job import Done, Failure, Job, Outcome, Release, Result, State, limited, order_of
from longboat.core.transitions import after


class Watcher(Protocol):
    """Who waits for results."""

    def tell(self, result: Result) -> None: ...


class Store(Places):
    """All jobs, consumers and entries. Everything here runs within `locked`."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.holders: dict[str, Holder] = {}
        self.waiting: dict[Holder, bool] = {}
        """Those that wait for jobs; whether one has got some, and leaves what is ready to the others."""
        self.watchers: dict[str, set[Watcher]] = {}
        self.tokens: dict[str, tuple[int, float]] = {}
        """For each client the number of its last put, and until when that is remembered."""
        self.kv = MemoryKV(clock)
        self.constraints = ConstraintTable(self, self.kv)

    @contextlib.contextmanager
    def locked(self) -> Iterator[float]:
        """Have the store alone, with what is due done. Gives the time."""
        with self.changed:
            now = self.clock.now()
            while (first := self.alarms.first()) and first[0] <= now:
                self.alarms.remove(first)
                thing = first[2]
                if isinstance(thing, Holder):
                    self._lapse(thing, first[1], now)
                elif isinstance(thing, LimitUsage):
                    self.constraints.unblock(thing, now)
                else:
                    thing.alarm = ()
                    self._fall_due(thing, now)
            yield now

    def wait(self, left: float, now: float) -> None:
        """Until something changes, or falls due, or `left` seconds are over. Called with the lock held, releases it."""
        alarm = self.alarms.first()
        self.changed.wait(left if alarm is None else min(left, max(0.0, alarm[0] - now)))

    def ready(self, queues: Iterable[str]) -> int:
        return sum(len(self.shelves.get((queue, State.READY), ())) for queue in queues)

    def others(self, than: Holder, *, served: bool) -> int:
        """How many others wait for jobs of its queues; of those that have got some, if it was served too."""
        mine = set(than.queues)
        waiting = [each for each, yields in self.waiting.items() if each is not than and (served or not yields)]
        return sum(not mine or not each.queues or not mine.isdisjoint(each.queues) for each in waiting)

    def _lapse(self, holder: Holder, serial: int, now: float) -> None:
        if not holder.alive:
            return
        if holder.deadline > now:
            self.alarms.add((holder.deadline, serial, holder))
            return
        self.evict(holder, reasons.worker_died(holder.name or holder.id, now), now)

    def _fall_due(self, record: Record, now: float) -> None:
        if record.expires <= now:
            self.end(record, State.CANCELLED, now, reasons.expired(now, record.attempts))
        elif record.state is State.SCHEDULED:
            self.move(record, State.READY)
        elif record.parked is not None:
            self.end(record, State.DEAD, now, record.parked)

    # --- putting

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
        self.constraints.apply(record)
        self.place(record, job.delay, now)

    # --- from state to state

    def lease(self, record: Record, holder: Holder, now: float) -> None:
        self.move(record, State.RUNNING)
        record.holder, record.token, record.started, record.has_started = holder, next(self.serials), now, False
        holder.held[record.token] = record
        record.parked = None
        self.constraints.enter(record, now)

    def unlease(self, record: Record) -> None:
        if record.holder is None:
            return
        del record.holder.held[record.token]
        record.holder = None
        self.constraints.leave(record)

    def settle(self, record: Record, outcome: Outcome, now: float) -> None:
        if isinstance(outcome, Done):
            record.result = outcome.result
            self.count_attempt(record)
            self.end(record, State.SUCCEEDED, now)
            return
        then = after(outcome, cancelled=record.cancel_requested, now=now, attempts=record.attempts)
        if then.counts:
            self.count_attempt(record)
        if then.forgets_deaths:
            record.worker_deaths = 0
        if then.state.ended:
            self.end(record, then.state, now, *then.failures)
            return
        record.fail(*then.failures)
        if isinstance(outcome, Release) and outcome.limits is not None:
            self.unlease(record)
            job = limited(decode_job(record.message), outcome.limits)
            record.message, record.constraints = encode_job(job), job.constraints or record.constraints
        if then.parked is None:
            self.come_back(record, then.delay, now)
        else:
            self.unlease(record)
            record.due, record.parked = now + then.delay, then.parked
            self.move(record, State.WAITING)

    def count_attempt(self, record: Record) -> None:
        record.attempts += 1
        record.expires = math.inf

    def come_back(self, record: Record, delay: float, now: float) -> None:
        self.unlease(record)
        if record.cancel_requested:
            self.cancel(record, now)
        else:
            self.place(record, delay, now)

    def cancel(self, record: Record, now: float) -> None:
        self.end(record, State.CANCELLED, now, reasons.cancelled(now, record.attempts))

    def end(self, record: Record, state: State, now: float, *failures: Failure) -> None:
        """End it, with these failures recorded; tells who waits for it."""
        self.unlease(record)
        record.fail(*failures)
        record.ended, record.cancel_requested = now, False
        self.move(record, state)
        record.parked = None
        for watcher in self.watchers.pop(record.id, ()):
            watcher.tell(record.outcome())
            self.notify()
        self.constraints.ended(record, now)
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

    def evict(self, holder: Holder, failure: Failure | None, now: float) -> int:
        """What it holds comes back. With a failure its worker died: attempts that had started count, and fail so."""
        holder.alive = False
        self.holders.pop(holder.id, None)
        records = list(holder.held.values())
        for record in records:
            if failure is not None:
                if record.has_started:
                    self.count_attempt(record)
                    record.fail(structs.replace(failure, attempt=record.attempts))
                record.worker_deaths += 1
            self.come_back(record, 0.0, now)
        self.notify()
        return len(records)

    # --- forgetting

    def delete(self, record: Record, now: float) -> None:
        self.take(record)
        self.constraints.drop(record)
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
        self.constraints.tidy(now)
        self.kv.prune(now)
        return pruned
