"""MemoryBroker: put, receive, settle, extend, said as plainly as the contract says them."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence

from longboat.brokers.memory.look import MemoryInspector
from longboat.brokers.memory.record import Holder, Record
from longboat.brokers.memory.results import MemoryResults
from longboat.brokers.memory.shelf import Shelf
from longboat.brokers.memory.store import Store
from longboat.brokers.memory.transfer import MemoryTransfer
from longboat.contract.base import BaseConsumer
from longboat.contract.broker import Lease, Settlement, Token
from longboat.contract.capabilities import WHOLE_CONTRACT, Capability
from longboat.contract.inspector import Inspector
from longboat.contract.kv import KV
from longboat.contract.results import ResultStore
from longboat.contract.transfer import Transfer
from longboat.core import reasons
from longboat.core.clock import SYSTEM, Clock
from longboat.core.codec import decode_job, encode_job
from longboat.core.job import Failure, Job, State, new_id
from longboat.errors import Undecodable

TIDY_EVERY = 1.0
_CHUNK = 1000
"""Jobs pruned with the lock held, at most."""


class MemoryBroker:
    """Keeps jobs in this process, and loses them with it. For tests, and for a worker inside a program."""

    capabilities = WHOLE_CONTRACT | {Capability.TIDY}

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
            store.constraints.check_parents(jobs, now)
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
            self._store.notify()
            return MemoryConsumer(self._store, holder)

    def evict(self, consumer: str, failure: Failure) -> int:
        with self._store.locked() as now:
            holder = self._store.holders.get(consumer)
            return self._store.evict(holder, failure, now) if holder else 0

    def tidy(self, budget: float) -> float:
        until = SYSTEM.monotonic() + budget
        while True:
            with self._store.locked() as now:
                if self._store.prune(_CHUNK, now) < _CHUNK:
                    return TIDY_EVERY
            if SYSTEM.monotonic() >= until:
                return 0.0

    def close(self) -> None:
        """Nothing to let go of: the jobs stay for who still holds this broker."""


class MemoryConsumer(BaseConsumer):
    def __init__(self, store: Store, holder: Holder) -> None:
        super().__init__(holder.id)
        self._store = store
        self._holder = holder
        self._turns = itertools.count()
        self._seen = 0
        """The store's version when it was looked at last."""
        self._paused_queues: frozenset[str] = frozenset()
        self._paused_tasks: frozenset[str] = frozenset()

    def _claim(self, n: int, until: float) -> list[Lease]:  # noqa: ARG002  # a claim here waits for nobody
        leases: list[Lease] = []
        with self._store.locked() as now:
            self._seen, self._cancelled = self._store.version, self._holder.cancelled
            self._over = self._over or not self._holder.alive
            queues = [] if self._over else self._queues()
            if self._shares and (others := self._store.others(self._holder, served=self._served)):
                n = self._part(n, self._store.ready(queues), others)
            for queue in queues:
                while len(leases) < n and (record := self._next(queue)):
                    if lease := self._lease(record, now):
                        leases.append(lease)
        return leases

    def _receive(self, n: int, until: float) -> list[Lease]:
        try:
            return super()._receive(n, until)
        finally:
            self._store.waiting.pop(self._holder, None)

    def _lease(self, record: Record, now: float) -> Lease | None:
        """None: it cannot be decoded, and is dead; or a limit blocks it."""
        try:
            job = decode_job(record.message)
        except Undecodable as error:
            self._store.end(record, State.DEAD, now, reasons.undecodable(str(error), now, record.attempts))
            return None
        if record.constraints.limits and self._store.constraints.block(record, now):
            return None
        self._store.lease(record, self._holder, now)
        inputs = [record.inputs[parent] for parent in record.constraints.after] if record.inputs else ()
        return Lease(job, record.attempts + 1, record.token, record.worker_deaths, len(record.failures), inputs)

    def _queues(self) -> list[str]:
        """Those named, or every one in turn: each time another is the first."""
        if self._holder.queues:
            return [queue for queue in self._holder.queues if queue not in self._paused_queues]
        ready = {queue for queue, state in self._store.shelves if state is State.READY or state is State.WAITING}
        queues = sorted(ready - self._paused_queues)
        first = next(self._turns) % len(queues) if queues else 0
        return queues[first:] + queues[:first]

    def _next(self, queue: str) -> Record | None:
        shelves: list[Shelf | None] = [self._store.shelves.get((queue, State.READY))]
        if (queue, State.WAITING) in self._store.shelves:
            shelves += [self._store.parked.get((queue, task)) for task in self._holder.tasks - self._paused_tasks]
        key = min((key for shelf in shelves if shelf and (key := shelf.first())), default=None)
        return key[-1] if key else None

    def _wait(self, until: float) -> None:
        with self._store.locked() as now:
            self._store.waiting[self._holder] = self._yields
            if self._store.version == self._seen and not self._woken:
                self._store.wait(max(0.0, until - SYSTEM.monotonic()), now)

    def settle(self, settlements: Sequence[Settlement], *, started: Sequence[Lease] = ()) -> list[Lease]:
        refused: list[Lease] = []
        with self._store.locked() as now:
            for lease in started:
                if (record := self._holder.held.get(lease.token)) is None:
                    refused.append(lease)
                else:
                    record.has_started = True
            for settlement in settlements:
                if (record := self._holder.held.get(settlement.lease.token)) is None:
                    refused.append(settlement.lease)
                else:
                    self._store.settle(record, settlement.outcome, now)
        return refused

    def _beat(self) -> Sequence[str] | None:
        with self._store.locked() as now:
            holder = self._holder
            if not holder.alive:
                return None
            holder.deadline = now + holder.lease
            self._told = holder.cancelled
            return [record.id for record in holder.held.values() if record.cancel_requested]

    def pause(self, queues: Collection[str], tasks: Collection[str]) -> None:
        with self._store.locked():
            self._paused_queues, self._paused_tasks = frozenset(queues), frozenset(tasks)
            self._store.notify()

    def _ring(self) -> None:
        with self._store.changed:
            self._store.notify()

    def _end(self) -> None:
        with self._store.locked() as now:
            self._store.evict(self._holder, None, now)
