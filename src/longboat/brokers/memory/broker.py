"""MemoryBroker: put, receive, settle, extend, said as plainly as the contract says them."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Sequence

from longboat.brokers.memory.look import MemoryInspector, MemoryResults
from longboat.brokers.memory.shelf import Shelf
from longboat.brokers.memory.store import Holder, Record, Store
from longboat.brokers.memory.transfer import MemoryTransfer
from longboat.contract.broker import Lease, Pulse, Settlement, Token
from longboat.contract.capabilities import WHOLE_CONTRACT
from longboat.contract.inspector import Inspector
from longboat.contract.kv import KV
from longboat.contract.results import ResultStore
from longboat.contract.transfer import Transfer
from longboat.core.clock import SYSTEM, Clock
from longboat.core.codec import decode_job, encode_job
from longboat.core.job import Cancelled, Dead, Done, Failure, Job, Outcome, Park, Release, Retry, State, new_id
from longboat.core.reasons import UNDECODABLE
from longboat.errors import Undecodable

PRUNED_AT_ONCE = 1000
"""Ended jobs that one heartbeat prunes at most."""


class MemoryBroker:
    """Keeps jobs in this process, and loses them with it. For tests, and for a worker inside a program."""

    capabilities = WHOLE_CONTRACT

    def __init__(self, *, clock: Clock = SYSTEM) -> None:
        self._store = Store(clock)
        self.results: ResultStore = MemoryResults(self._store)
        self.inspector: Inspector = MemoryInspector(self._store)
        self.kv: KV = self._store.kv
        self.transfer: Transfer = MemoryTransfer(self._store)

    def put(self, jobs: Sequence[Job], *, token: Token | None = None) -> list[str]:
        store = self._store
        messages = [encode_job(job) for job in jobs]  # what cannot be encoded raises before anything is stored
        with store.locked() as now:
            if token is not None and store.repeated(token, now):
                return [job.id for job in jobs]
            store.bonds.check_parents(jobs, now)
            if token is not None:
                store.remember(token, now)
            new = []
            for job, message in zip(jobs, messages, strict=True):
                if not store.known(job.id, now):
                    store.add(job, message, now)
                    new.append(job.id)
            return new

    def consumer(
        self, queues: Sequence[str], *, lease: float, tasks: Collection[str] = (), name: str = ""
    ) -> MemoryConsumer:
        with self._store.locked() as now:
            holder = Holder(new_id(), name, list(queues), frozenset(tasks), lease, now + lease)
            self._store.holders[holder.id] = holder
            self._store.alarms.add((holder.deadline, next(self._store.serials), holder))
            self._store.changed.notify_all()
            return MemoryConsumer(self._store, holder)

    def evict(self, consumer: str, failure: Failure) -> int:
        with self._store.locked() as now:
            holder = self._store.holders.get(consumer)
            return self._store.evict(holder, failure, now) if holder else 0

    def close(self) -> None:
        """Nothing to let go of: the jobs stay for who still holds this broker."""


class MemoryConsumer:
    def __init__(self, store: Store, holder: Holder) -> None:
        self.id = holder.id
        self._store = store
        self._holder = holder
        self._turns = itertools.count()

    def receive(self, n: int, *, wait: float) -> list[Lease]:
        store, holder = self._store, self._holder
        end = store.clock.monotonic() + wait
        while True:
            with store.locked() as now:
                leases = self._claim(n, now)
                left = end - store.clock.monotonic()
                if leases or holder.nudged or not holder.alive or left <= 0:
                    holder.nudged = False
                    return leases
                alarm = store.alarms.first()
                store.changed.wait(left if alarm is None else min(left, max(0.0, alarm[0] - now)))

    def _claim(self, n: int, now: float) -> list[Lease]:
        leases: list[Lease] = []
        if not self._holder.alive:
            return leases
        for queue in self._queues():
            while len(leases) < n and (record := self._next(queue)):
                try:
                    job = decode_job(record.message)
                except Undecodable as error:
                    self._store.end(record, State.DEAD, now, Failure(UNDECODABLE, str(error), at=now))
                    continue
                if record.constraints.limits and self._store.bonds.keep_out(record, now):
                    continue
                self._store.lease(record, self._holder, now)
                inputs = [record.inputs[parent] for parent in record.constraints.after] if record.inputs else ()
                attempt = record.attempts + 1
                leases.append(Lease(job, attempt, record.token, record.worker_deaths, len(record.failures), inputs))
        return leases

    def _queues(self) -> Iterable[str]:
        """Those named, or every one in turn: each time another is the first."""
        if self._holder.queues:
            return [queue for queue in self._holder.queues if queue not in self._holder.paused_queues]
        ready = {queue for queue, state in self._store.shelves if state is State.READY or state is State.WAITING}
        queues = sorted(ready - self._holder.paused_queues)
        first = next(self._turns) % len(queues) if queues else 0
        return queues[first:] + queues[:first]

    def _next(self, queue: str) -> Record | None:
        shelves: list[Shelf | None] = [self._store.shelves.get((queue, State.READY))]
        if (queue, State.WAITING) in self._store.shelves:
            shelves += [self._store.parked.get((queue, task)) for task in self._holder.tasks - self._holder.paused_tasks]
        key = min((key for shelf in shelves if shelf and (key := shelf.first())), default=None)
        return key[-1] if key else None

    def settle(self, settlements: Sequence[Settlement], *, started: Sequence[Lease] = ()) -> list[Lease]:
        refused: list[Lease] = []
        with self._store.locked() as now:
            for lease in started:
                if (record := self._holder.held.get(lease.token)) is None:
                    refused.append(lease)
                else:
                    record.noted = True
            for settlement in settlements:
                if (record := self._holder.held.get(settlement.lease.token)) is None:
                    refused.append(settlement.lease)
                else:
                    self._apply(record, settlement.outcome, now)
        return refused

    def _apply(self, record: Record, outcome: Outcome, now: float) -> None:
        store = self._store
        match outcome:
            case Done(result):
                store.count_attempt(record)
                record.result = result
                store.end(record, State.SUCCEEDED, now)
            case Retry(delay, failure):
                store.count_attempt(record, failure)
                record.worker_deaths = 0
                store.come_back(record, delay, now)
            case Dead(failure, counted):
                if counted:
                    store.count_attempt(record)
                store.end(record, State.DEAD, now, failure)
            case Cancelled(failure):
                store.end(record, State.CANCELLED, now, failure)
            case Release(delay):
                store.come_back(record, delay, now)
            case Park(patience, failure) if not record.unwanted:
                store.unlease(record)
                record.due, record.parked = now + patience, failure
                store.move(record, State.WAITING)
            case Park():
                store.come_back(record, 0.0, now)

    def extend(self) -> Pulse:
        with self._store.locked() as now:
            self._store.prune(PRUNED_AT_ONCE, now)
            holder = self._holder
            if not holder.alive:
                return Pulse(False)
            holder.deadline = now + holder.lease
            return Pulse(True, [record.id for record in holder.held.values() if record.unwanted])

    def pause(self, queues: Collection[str], tasks: Collection[str]) -> None:
        with self._store.locked():
            self._holder.paused_queues, self._holder.paused_tasks = frozenset(queues), frozenset(tasks)
            self._store.changed.notify_all()

    def wake(self) -> None:
        with self._store.changed:
            self._holder.nudged = True
            self._store.changed.notify_all()

    def close(self) -> None:
        with self._store.locked() as now:
            self._holder.alive = False
            self._store.holders.pop(self.id, None)
            for record in list(self._holder.held.values()):
                self._store.come_back(record, 0.0, now)
            self._store.changed.notify_all()
