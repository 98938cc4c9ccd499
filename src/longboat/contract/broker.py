"""The contracts a broker keeps: prose and types. `longboat.testing.conformance` holds each promise as a test.

A broker keeps jobs safe and hands them out. All calls block; all are safe to make from several threads, except that
one consumer's `receive` belongs to one thread at a time (others may settle, extend and wake it meanwhile).
Every call answers or raises `BrokerUnavailable` within the broker's time limit (2 s unless its URL says otherwise).

Time. Durations travel and the broker's clock decides: a worker's or caller's clock never matters.

Order. Within a queue: higher priority first, then oldest (by when the job was put; a job that comes back keeps its
place). Between queues: those named first are asked first; a consumer that names none gets every queue, in turn.

Attempts. A lease carries the number its attempt has if it starts. Settling with Done, Retry or Dead charges the attempt;
Release and Park do not. When a worker dies, only the leases it had noted as started are charged, with a Failure of
type "longboat.WorkerDied" that names the worker; all that it held come back with `returns` one higher. The worker
notes starts with `settle(…, started=…)`: lazily as a rule, but before it runs a lease whose `returns` is not 0, and of
these it starts few together, and at last one by one: so a job that kills its worker is found out, and no neighbour dies.

Waiting for others. A job put `after` parents (job.ties) waits until each of them has succeeded; its delay counts from
then, its expiry from its put. It is told their results with its lease, in the order of `after`, however long ago they
succeeded and whatever their `keep`. Parents are known at the put or stand before it in the batch. When a parent dies or is
cancelled the job waits on: the parent may be revived.

Limits. A job with gates (job.ties) is leased only while all of them are open, by its own numbers. Leases of all jobs with
the key count, until they are settled, lost or handed back. One that is shut out waits, in the order of its queue, holds
up no job of another key, and comes back to its queue as soon as there is room (100 ms after a lease's end or a time, 2 s
after a job that stood for the room left without having been leased).

Turns. Ready jobs of one queue and priority that have a turn key alternate: however many of one key wait, a job of another
key put after them is received after at most two jobs of each key. Those without a key go by age.

Bad input. A stored message that cannot be decoded becomes dead with its raw bytes as payload and a Failure of type
"longboat.Undecodable"; its neighbours are received as if it were not there.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

import msgspec

from longboat.contract.capabilities import Capability
from longboat.contract.inspector import Inspector
from longboat.contract.kv import KV
from longboat.contract.results import ResultStore
from longboat.contract.transfer import Transfer
from longboat.core.job import Failure, Job, Outcome

Token = tuple[str, int]
"""Names one put: (client, number). A client's numbers grow; a put whose number is not above the last one stored is known."""

FORGOTTEN_AFTER = 86400.0
"""Seconds that a put's token and an id chosen by a caller are remembered after the put or the job's end, at least."""

ENDED_KEPT = 100_000
"""Ended jobs kept per queue and kind (succeeded and cancelled; dead), the newest; older ones are pruned."""

DEAD_KEPT = 30 * 86400.0
"""Seconds that dead jobs are kept."""


class Lease(msgspec.Struct, eq=False, gc=False):
    """The right to run a job while its consumer's heartbeat lasts. Compared by identity."""

    job: Job
    attempt: int
    """The number of the attempt that this lease allows, from 1."""
    token: int
    """The fence: a lease settles only while the broker still knows this token for the job."""
    worker_deaths: int = 0
    """How often a worker died while it held this job, since an attempt of it last ended."""
    failures: int = 0
    """How many failed attempts are recorded with the job."""
    inputs: Sequence[bytes] = ()
    """The results of the jobs it came after, in that order."""


class Settlement(msgspec.Struct, eq=False, gc=False):
    """What became of a lease."""

    lease: Lease
    outcome: Outcome


class Pulse(msgspec.Struct):
    """The answer to a heartbeat."""

    alive: bool
    """False: this consumer's leases are lost, all of them, and it is over: make another."""
    cancelled: Sequence[str] = ()
    """Ids of leased jobs whose cancellation was asked for; told at every heartbeat until they are settled."""


class Consumer(Protocol):
    """One worker's hold on the broker. Its leases live as long as its heartbeat."""

    id: str
    """Unique, never used again."""

    def receive(self, n: int, *, wait: float) -> list[Lease]:
        """Lease up to `n` jobs that are ready, in order; never one before its time, nor one that has expired.

        Returns at once when there is at least one; else waits up to `wait` seconds without polling the CPU, and
        returns within 5 ms of a put (100 ms of a delay's end). May return [] early: after `wake`, or when `extend`
        should be called soon because a cancellation was asked for. Claiming is atomic: whatever dies, each job is
        either still waiting or leased. Parked jobs of the consumer's `tasks` are received too.
        A lost or closed consumer receives [].
        """
        ...

    def settle(self, settlements: Sequence[Settlement], *, started: Sequence[Lease] = ()) -> list[Lease]:
        """Record outcomes of any mixture, and which leases have started, in one round trip and one transaction.

        Returns the leases (of both) that are no longer this consumer's: lost, settled before, or cancelled from under it;
        nothing was changed for them. Settling the same again is therefore harmless.
        """
        ...

    def extend(self) -> Pulse:
        """One heartbeat for all that this consumer holds. Cheap: call it each second; it writes only when due.

        Also does the broker's housekeeping when it is due: jobs of dead consumers come back, what is over is pruned.
        """
        ...

    def pause(self, queues: Collection[str], tasks: Collection[str]) -> None:
        """From now on `receive` gives no jobs of these queues, nor parked ones of these tasks; until it is said anew."""
        ...

    def wake(self) -> None:
        """Make a `receive` that waits (or the next one) return promptly. May be called from any thread, at any time."""
        ...

    def close(self) -> None:
        """End this consumer; leases it still holds come back uncharged, `returns` unchanged. Idempotent."""
        ...


class Broker(Protocol):
    """Keeps jobs safe and hands them out."""

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What it can do beyond its verbs. A call that needs another one raises Unsupported."""
        ...

    @property
    def results(self) -> ResultStore: ...

    @property
    def inspector(self) -> Inspector: ...

    @property
    def kv(self) -> KV: ...

    @property
    def transfer(self) -> Transfer: ...

    def put(self, jobs: Sequence[Job], *, token: Token | None = None) -> list[str]:
        """Store jobs, durably on return, in one round trip and all or nothing; returns the ids that were new, in order.

        An id known already (in any state, ended ones and FORGOTTEN_AFTER included) has no effect. A put tried again
        with the same `token` makes no second job whatever became of the first, and returns all its ids.
        Raises BrokerUnavailable or BrokerFull; then trying again with the same token is safe. Raises UnknownParent for
        a job `after` one that is neither kept here nor stands before it in the batch.
        """
        ...

    def consumer(self, queues: Sequence[str], *, lease: float, tasks: Collection[str] = (), name: str = "") -> Consumer:
        """A new consumer of these queues (none: every queue), whose jobs come back `lease` seconds after its last heartbeat.

        `tasks` names the tasks it knows: parked jobs of these are handed to it. `name` is shown to people as the worker.
        """
        ...

    def evict(self, consumer: str, failure: Failure) -> int:
        """The consumer with this id is known to be dead: its jobs come back now. Returns how many.

        Started ones are charged, with `failure` (its `attempt` is filled in); idempotent; an unknown id is 0.
        """
        ...

    def close(self) -> None:
        """Let go of connections and threads. Consumers must be closed first. Idempotent."""
        ...
