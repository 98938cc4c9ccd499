"""A whole broker from five methods: what a message system or a store needs so that Longboat can work with it.

Write a Driver, and give `SimpleBroker(driver)` to Longboat (docs/brokers.md). What the driver does not declare among its
capabilities raises Unsupported, or is done without. A part that the driver has, such as results, is handed over beside it.
"""

# ruff: noqa: ARG002  # parameters of the contract that a broker without the part has no use for

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Protocol

import msgspec

from longboat.contract.base import BaseConsumer
from longboat.contract.broker import Lease, Pulse, Settlement, Token
from longboat.contract.capabilities import Capability, absent, unsupported
from longboat.contract.inspector import Inspector
from longboat.contract.kv import KV
from longboat.contract.results import ResultStore
from longboat.contract.transfer import Transfer
from longboat.core.clock import SYSTEM
from longboat.core.codec import encode_job
from longboat.core.job import Failure, Job, Park, Release, State, new_id
from longboat.core.views import ConsumerView, JobView, LimitView, Page

PARKED = 5.0
"""Seconds after which a job whose task nobody knew is given to somebody again, by a broker that cannot park jobs."""


class Hold(msgspec.Struct):
    """A consumer as plain data: who receives, what, and how long its leases live without a heartbeat."""

    id: str
    """Unique, never used again."""
    queues: Sequence[str]
    """Those first named are asked first. Empty: every queue."""
    tasks: frozenset[str]
    """The tasks it knows: with Capability.PARKING, parked jobs of these are for it too."""
    lease: float
    """Seconds after its last heartbeat at which its jobs come back."""
    name: str = ""
    """Shown to people."""
    beats: int = 0
    """Heartbeats so far. The first comes before anything is received."""
    receives: int = 0
    paused_queues: frozenset[str] = frozenset()
    paused_tasks: frozenset[str] = frozenset()

    def asks(self, existing: Iterable[str]) -> list[str]:
        """The queues to look into, in order: those named, or of the existing ones each in turn; none that is paused."""
        if self.queues:
            return [queue for queue in self.queues if queue not in self.paused_queues]
        queues = sorted(set(existing) - self.paused_queues)
        first = self.receives % len(queues) if queues else 0
        return queues[first:] + queues[:first]


class Driver(Protocol):
    """The five verbs. All may be called from several threads; they raise BrokerUnavailable when the store is not reached."""

    name: str
    """What people call it: messages say "NAME cannot …"."""
    capabilities: frozenset[Capability]
    """What it does beyond the promises below; each has its clauses in the conformance suite."""

    def put(self, jobs: Sequence[Job], token: Token | None, /) -> list[str]:
        """Store jobs, durably on return, all or none; returns the ids that were new, in order.

        A job with a delay may start `delay` seconds from now, and not before.
        """
        ...

    def receive(self, hold: Hold, n: int, wait: float, /) -> list[Lease]:
        """Lease up to `n` jobs that are ready, oldest first, to nobody else; at once if there are some.

        If there are none it may wait, `wait` seconds at most: it is called again until somebody's patience is over.
        Jobs of consumers whose lease is over are ready again, without anybody's help.
        """
        ...

    def settle(self, hold: Hold, settlements: Sequence[Settlement], started: Sequence[Lease], /) -> list[Lease]:
        """Do what `core.transitions.after` says of each outcome; note which leases have started.

        Returns those, of both, that are no longer this consumer's, and changes nothing for them.
        """
        ...

    def extend(self, hold: Hold, /) -> Pulse:
        """A heartbeat: its leases live for `hold.lease` seconds from now. Not alive: its jobs have come back."""
        ...

    def close(self) -> None:
        """Let go of connections. Idempotent."""
        ...


class SimpleBroker:
    """The contract over a driver's five verbs. `poll`: seconds that a driver may wait for jobs before it is asked again."""

    def __init__(
        self,
        driver: Driver,
        *,
        poll: float = 0.05,
        results: ResultStore | None = None,
        inspector: Inspector | None = None,
        kv: KV | None = None,
        transfer: Transfer | None = None,
    ) -> None:
        self.driver = driver
        self.capabilities = driver.capabilities
        self.poll = poll
        self.results: ResultStore = results or absent(unsupported(Capability.RESULTS, driver.name))
        self.inspector: Inspector = inspector or SimpleInspector(driver.name)
        self.kv: KV = kv or absent(unsupported(Capability.KV, driver.name))
        self.transfer: Transfer = transfer or absent(unsupported(Capability.TRANSFER, driver.name))

    def put(self, jobs: Sequence[Job], *, token: Token | None = None) -> list[str]:
        for job in jobs:
            encode_job(job)  # which refuses what nobody could use
            if job.expires is not None:
                self._need(Capability.EXPIRY)
            if job.constraints is not None:
                for needed, capability in (
                    (job.constraints.after, Capability.DEPENDENCIES),
                    (job.constraints.limits, Capability.LIMITS),
                    (job.constraints.fairness_key, Capability.FAIRNESS),
                ):
                    if needed:
                        self._need(capability)
        return self.driver.put(jobs, token) if jobs else []

    def consumer(
        self, queues: Sequence[str], *, lease: float, tasks: Collection[str] = (), name: str = ""
    ) -> SimpleConsumer:
        if not queues and Capability.EVERY_QUEUE not in self.capabilities:
            raise unsupported(
                Capability.EVERY_QUEUE, self.driver.name, instead="Name them: longboat worker --queues default"
            )
        return SimpleConsumer(self, Hold(new_id(), list(dict.fromkeys(queues)), frozenset(tasks), lease, name))

    def evict(self, consumer: str, failure: Failure) -> int:
        """Its jobs come back when its lease ends."""
        return 0

    def close(self) -> None:
        self.driver.close()

    def _need(self, capability: Capability) -> None:
        if capability not in self.capabilities:
            raise unsupported(capability, self.driver.name)


class SimpleConsumer(BaseConsumer):
    """Knows what it holds, and asks again while there is nothing, so that a driver need not."""

    def __init__(self, broker: SimpleBroker, hold: Hold) -> None:
        super().__init__(hold.id)
        self._driver = broker.driver
        self._poll = broker.poll
        self._hold = hold
        self._held: set[Lease] = set()
        self._lock = threading.Lock()
        self._rung = threading.Event()
        self._asked = 0.0
        self.extend()

    def _claim(self, n: int, until: float) -> list[Lease]:
        self._rung.clear()
        self._asked = SYSTEM.monotonic()
        leases = self._driver.receive(self._hold, n, max(0.0, min(self._poll, until - self._asked)))
        self._hold.receives += 1
        with self._lock:
            if not self._over:
                self._held.update(leases)
                return leases
        self._hand_back(leases)
        return []

    def _wait(self, until: float) -> None:
        self._rung.wait(max(0.0, min(until, self._asked + self._poll) - SYSTEM.monotonic()))

    def _ring(self) -> None:
        self._rung.set()

    def settle(self, settlements: Sequence[Settlement], *, started: Sequence[Lease] = ()) -> list[Lease]:
        begun: list[Lease] = []
        mine: list[Settlement] = []
        refused: list[Lease] = []
        with self._lock:
            for lease in started:
                (begun if lease in self._held else refused).append(lease)
            for each in settlements:
                if each.lease in self._held:
                    self._held.discard(each.lease)
                    mine.append(self._unparked(each))
                else:
                    refused.append(each.lease)
        if begun or mine:
            try:
                refused += self._driver.settle(self._hold, mine, begun)
            except BaseException:  # it may be tried again
                with self._lock:
                    self._held.update(each.lease for each in mine)
                raise
        return refused

    def _unparked(self, settlement: Settlement) -> Settlement:
        if isinstance(settlement.outcome, Park) and Capability.PARKING not in self._driver.capabilities:
            return Settlement(settlement.lease, Release(min(settlement.outcome.patience, PARKED)))
        return settlement

    def _beat(self) -> Sequence[str] | None:
        pulse = self._driver.extend(self._hold)
        self._hold.beats += 1
        if pulse.alive:
            return pulse.cancelled
        self._let_go()
        return None

    def pause(self, queues: Collection[str], tasks: Collection[str]) -> None:
        self._hold.paused_queues, self._hold.paused_tasks = frozenset(queues), frozenset(tasks)
        self._ring()

    def _end(self) -> None:
        self._hand_back(self._let_go())

    def _let_go(self) -> list[Lease]:
        with self._lock:
            self._over = True
            leases = list(self._held)
            self._held.clear()
        self._ring()
        return leases

    def _hand_back(self, leases: Sequence[Lease]) -> None:
        if leases:
            self._driver.settle(self._hold, [Settlement(lease, Release()) for lease in leases], [])


class SimpleInspector:
    """Can do nothing. Make a subclass with what your store can, and declare it."""

    def __init__(self, name: str) -> None:
        self._name = name

    def counts(self) -> Mapping[tuple[str, State], int]:
        raise unsupported(Capability.COUNTS, self._name)

    def find(self, ids: Sequence[str]) -> list[JobView | None]:
        raise unsupported(Capability.LOOKUP, self._name)

    def jobs(
        self,
        state: State,
        *,
        queue: str | None = None,
        task: str | None = None,
        after: str | None = None,
        limit: int = 100,
    ) -> Page:
        raise unsupported(Capability.DEAD_JOBS if state is State.DEAD else Capability.LISTS, self._name)

    def consumers(self) -> list[ConsumerView]:
        raise unsupported(Capability.CONSUMERS, self._name)

    def cancel(self, ids: Sequence[str]) -> list[str]:
        raise unsupported(Capability.CANCEL, self._name)

    def retry(self, ids: Sequence[str]) -> list[str]:
        raise unsupported(Capability.DEAD_JOBS, self._name)

    def purge(self, states: Collection[State], *, queue: str | None = None, limit: int = 1000) -> int:
        raise unsupported(Capability.PURGE, self._name)

    def limits(self, keys: Sequence[str]) -> list[LimitView | None]:
        raise unsupported(Capability.LIMITS, self._name)

    def prune(self, *, limit: int = 1000) -> int:
        return 0
