"""The contracts a broker keeps: prose and types. `longboat.testing.conformance` holds each promise as a test.

A broker keeps jobs safe and hands them out. Five verbs are required: put, receive, settle, extend, close (simple.py
makes a broker of them). Everything else is a capability: a broker declares those it has, and a call that needs
another one raises Unsupported (capabilities.py). The promises below are those of a broker with every capability.

All calls block. All may be made from several threads, but a consumer's `receive` belongs to one thread at a time;
others may settle, extend and wake the consumer meanwhile. Every call answers, or raises BrokerUnavailable, within the
broker's time limit (2 s unless its URL says otherwise).

Time. Durations travel, and the broker's clock decides. The clocks of callers and workers never matter.

Order. Within a queue, higher priority comes first, then the oldest. A job's age counts from its put, so a job that
comes back keeps its place. Between queues, those named first are asked first. A consumer that names none gets every
queue in turn.

Attempts. A lease carries the number that its attempt has if it starts. Done, Retry and Dead count as an attempt;
Release and Park do not. When a worker dies, all that it held comes back with `worker_deaths` one higher. Of these,
only the leases noted as started count as an attempt, with a Failure of type "longboat.WorkerDied" that names the
worker. Workers note starts with `settle(…, started=…)`, lazily as a rule. Before a worker runs a lease whose
`worker_deaths` is not 0, it notes the start, and it starts only a few of these together, at last one by one. So a job
that kills its worker is found out, and no neighbour dies.

Dependencies. A job put `after` parents (job.constraints) waits until each of them has succeeded. Its delay counts
from then, its expiry from its put. Its lease brings the parents' results in the order of `after`, however long ago
they succeeded and whatever their `keep`. Parents are known at the put, or stand before the job in the batch. When a
parent dies or is cancelled the job goes on waiting, because the parent may be retried.

Limits. A job with limits (job.constraints) is leased only while each of them has room, by the job's own numbers. All
leases of jobs with the limit's key count until they are settled, lost or handed back. A blocked job waits in the
order of its queue and holds up no job of another key. It comes back to its queue as soon as there is room: within 100
ms of a lease's end or of a time, and within 2 s when a job that was given the room left without being leased. A job
that is handed back with limits (Release) has these from then on.

Fairness. Ready jobs of one queue and priority that have fairness keys alternate: however many of one key wait, a job
of another key put after them is received after at most two jobs of each key. Jobs without a key go by age.

Bad input. A stored message that cannot be decoded becomes a dead job with its raw bytes as payload and a Failure of
type "longboat.Undecodable". Its neighbours are received as if it were not there. A put refuses what would become such a
message: fields beyond the bounds in their types (core/bounds.py).
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
"""Names one put: (client, number). A client's numbers grow. A put whose number is not above the last one stored is known."""

FORGOTTEN_AFTER = 86400.0
"""Seconds that a put's token, and an id chosen by a caller, are remembered: after the put, or the job's end, at least."""

ENDED_KEPT = 100_000
"""Ended jobs kept per queue and kind (succeeded and cancelled; dead), the newest; older ones are pruned."""

DEAD_KEPT = 30 * 86400.0
"""Seconds that dead jobs are kept."""


class Lease(msgspec.Struct, eq=False, gc=False):
    """The right to run a job while its consumer's heartbeat lasts. Compared by identity."""

    job: Job
    attempt: int
    """The number of the attempt that this lease allows, counted from 1."""
    token: int
    """The fence: a lease settles only while the broker still knows this token for the job."""
    worker_deaths: int = 0
    """How often a worker died while it held this job, since one of its attempts last ended."""
    failures: int = 0
    """How many failed attempts are recorded with the job."""
    inputs: Sequence[bytes] = ()
    """The results of the jobs that it came after, in that order."""


class Settlement(msgspec.Struct, eq=False, gc=False):
    """What became of a lease."""

    lease: Lease
    outcome: Outcome


class Pulse(msgspec.Struct):
    """The answer to a heartbeat."""

    alive: bool
    """False: this consumer has lost all its leases and is over. Make another."""
    cancelled: Sequence[str] = ()
    """Ids of leased jobs that are to be cancelled. They are told at every heartbeat until they are settled."""
    ended: Sequence[tuple[Job, Failure]] = ()
    """Jobs that this consumer found cancelled or expired since the last heartbeat, and ended before anybody leased them."""


class Consumer(Protocol):
    """One worker's hold on the broker. Its leases live as long as its heartbeat."""

    id: str
    """Unique, never used again."""

    def receive(self, n: int, *, wait: float) -> list[Lease]:
        """Lease up to `n` jobs that are ready, in order; never one before its time, nor one that has expired. Of big ones it
        may take fewer, so that the answer comes in time.

        Returns at once if there is at least one. Else it waits up to `wait` seconds without polling, and returns within
        5 ms of a put, or 100 ms of a delay's end. It may return [] early: after `wake`, or because a job is to be cancelled
        and `extend` should be called soon. While other consumers wait for the same queues it takes no more than its part of
        what is ready, beside theirs. Claiming is atomic: whatever dies, each job is either waiting or leased. Parked
        jobs of the consumer's `tasks` are received too. A lost or closed consumer receives [].
        """
        ...

    def settle(self, settlements: Sequence[Settlement], *, started: Sequence[Lease] = ()) -> list[Lease]:
        """Record any mixture of outcomes, and which leases have started, in one round trip and one transaction.

        Returns the leases, of both, that are no longer this consumer's: lost, or settled before. Nothing was changed for
        them, so settling the same again is harmless.
        """
        ...

    def extend(self) -> Pulse:
        """One heartbeat for all that this consumer holds. Cheap: call it each second; it writes only when due.

        A heartbeat and nothing else: housekeeping is `tidy` (tidy.py).
        """
        ...

    def pause(self, queues: Collection[str], tasks: Collection[str]) -> None:
        """Until it is called again, `receive` gives no jobs of these queues and no parked jobs of these tasks."""
        ...

    def wake(self) -> None:
        """Make the `receive` that waits, or the next one, return promptly."""
        ...

    def close(self) -> None:
        """End this consumer. Leases it still holds come back; no attempt and no worker's death is counted. Idempotent."""
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
        """Store jobs, all or none, in one round trip and durably on return. Returns the ids that were new, in order.

        They have 32 MB of arguments together at most (core/portions.py); callers see to that.
        A job whose id is known has no effect, whatever the state of the known one, also after its end (FORGOTTEN_AFTER).
        Retrying a put with the same `token` is safe: it makes no second job, whatever became of the first, and returns all
        the ids. Raises BrokerUnavailable or BrokerFull; then retry it with the same token. Raises UnknownParent for a job
        `after` one that is neither kept here nor stands before it in the batch, ConfigError or TooLarge for a job that could
        not be decoded, or that has a name for which the broker has no room.
        """
        ...

    def consumer(self, queues: Sequence[str], *, lease: float, tasks: Collection[str] = (), name: str = "") -> Consumer:
        """A new consumer of these queues; none: of every queue. Its jobs come back `lease` seconds after its last heartbeat.

        `tasks` names the tasks it knows: it is handed parked jobs of these. `name` is shown to people as the worker.
        """
        ...

    def evict(self, consumer: str, failure: Failure) -> int:
        """The consumer with this id is known to be dead: its jobs come back now. Returns how many.

        For those that had started an attempt is counted, with `failure`, whose `attempt` is filled in. Idempotent; 0 for an
        unknown id.
        """
        ...

    def close(self) -> None:
        """Let go of connections and threads. Close consumers first. Idempotent."""
        ...
