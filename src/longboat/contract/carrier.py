"""The contract of a carrier: it moves the messages of jobs. The companion makes a whole broker of any carrier and any KV.

A carrier promises little. A message that was sent is delivered at least once, to one receiver at a time, and again if that
receiver ends without acknowledging it. It need not know which jobs there are, refuse a second message of a job, keep results
or find anything by its id: the companion does that in the KV. All calls are safe to make from several threads, and each
answers or raises BrokerUnavailable within the carrier's time limit; `Receiver.receive` belongs to one thread at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import msgspec

from longboat.contract.broker import Lease
from longboat.contract.capabilities import Capability
from longboat.contract.chains import Chain
from longboat.core.bounds import LONGEST_NAME, Amount, Count, Seconds
from longboat.core.codec import decode_failures, encode_failures
from longboat.core.job import FAILURES_KEPT, Failure, State

TRACEBACK_KEPT, MESSAGE_KEPT = 2000, 500
"""Characters of each traceback and message that travel, its end."""
FAILURES_ROOM = 100_000
"""Bytes of failures that travel, the newest: all headers of a message fit one AMQP frame of 128 kB."""

NEVER = 1e10
"""As the time of a put, or as the least: a job that was put then does not expire. What is above it tells when a dead job
was retried."""

Place = tuple[str, int | None]
"""A queue and a priority of it; None: its dead jobs."""


class Envelope(msgspec.Struct):
    """What travels with a job beside its body, and changes each time that it is sent again."""

    attempts: Count = 0
    worker_deaths: Count = 0
    failures: bytes = b""
    """Encoded, at most FAILURES_KEPT, shortened."""
    put: Seconds = 0.0
    """Wall-clock time of the put by the caller's clock, if the job expires."""
    parked: Amount = 0.0
    """Wall-clock time until which it waits for a worker that knows its task; 0: it is not parked."""
    why: bytes = b""
    """The encoded failure it was parked with."""
    ended: Seconds = 0.0
    """Of a dead job: when it died."""
    copy: str = ""
    """Tells this message from others of its job. For the companion alone."""
    again: bool = False
    """It may be a second message of its job. For the companion alone."""
    token: int = 0
    """For the carrier alone: of the lease, while its receiver keeps the message in a place of its own."""
    started: int = 0
    """For the carrier alone: the attempt noted as started there."""
    worker: str = ""
    """For the carrier alone: who keeps it there."""
    reply: str = ""
    """The address of the mailbox of who put the job: it is told how the job ended. For want of a KV."""
    chain: bytes = b""
    """Of a job in a chain: what comes after it, and the result of the one before, encoded (chains.py). For want of a KV."""
    unreadable: str = ""
    """Why what travelled cannot be read: the job is undecodable then, whatever its body says."""

    def failed(self, *failures: Failure) -> bytes:
        """The failures with these added, encoded, as they travel."""
        if not failures:
            return self.failures
        short = [
            msgspec.structs.replace(
                each,
                type=each.type[:LONGEST_NAME],
                message=each.message[-MESSAGE_KEPT:],
                traceback=each.traceback[-TRACEBACK_KEPT:],
                worker=each.worker[:LONGEST_NAME],
            )
            for each in failures
        ]
        kept = [*decode_failures(self.failures), *short][-FAILURES_KEPT:]
        while len(encoded := encode_failures(kept)) > FAILURES_ROOM:
            del kept[0]
        return encoded


class Message(msgspec.Struct, gc=False):
    """A job to be sent."""

    id: str
    queue: str
    priority: int
    body: bytes
    """The encoded job, or what cannot be decoded as one."""
    envelope: Envelope
    delay: float = 0.0
    """Seconds before it may be received, at most the carrier's `longest_delay`."""
    dead: bool = False
    """It goes to the dead jobs of its queue, which nobody receives."""


class Delivery(msgspec.Struct, eq=False, gc=False):
    """A message in the hands of one receiver, until it is acknowledged or rejected. Compared by identity."""

    queue: str
    body: bytes
    envelope: Envelope
    """With the deaths that the carrier knows of counted in."""
    tag: int
    """Names it among those of its receiver."""
    lease: Lease | None = None
    """Set by the consumer that leases it."""
    settling: bool = False
    """Set by the consumer while it records an outcome. The carrier then leaves the delivery as it is."""
    id: str = ""
    """Of a message that was looked for: the job's."""
    chain: Chain | None = None
    """Decoded with the lease."""


class Receiver(Protocol):
    """One consumer's hold on its queues. It ends when `extend` is not called for its lease."""

    id: str
    """Unique, never used again."""

    @property
    def over(self) -> bool:
        """Closed, evicted or lost: it receives nothing more, and what it held goes back."""
        ...

    def receive(self, n: int, *, wait: float) -> list[Delivery]:
        """Up to `n` messages: by queue as named, the higher priorities first, the oldest first where the carrier can.

        Waits up to `wait` seconds for the first. Returns [] early after a `wake`, and when the receiver is over.
        """
        ...

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """These messages are done with. Not necessarily durable on return: if this is lost they are delivered again."""
        ...

    def reject(self, deliveries: Sequence[Delivery]) -> None:
        """Put those that are still held back in their places, to be received by anybody."""
        ...

    def note_started(self, deliveries: Sequence[Delivery]) -> None:
        """Durable on return: should this receiver die, these come back with the attempt counted. For want of a KV."""
        ...

    def extend(self) -> bool:
        """One heartbeat; whether the receiver lives. Also keeps what is held for long from being taken back."""
        ...

    def pause(self, queues: Collection[str]) -> None:
        """From now on receive nothing from these queues, until told otherwise."""
        ...

    def wake(self) -> None:
        """Make a `receive` that waits (or the next one) return promptly."""
        ...

    def close(self) -> None:
        """End; what is still held goes back. Idempotent."""
        ...


class Look(Protocol):
    """Messages that were found, out of everybody's reach while it lasts. What is not acknowledged goes back to its place."""

    found: list[Delivery]

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """Delete these, durably on return."""
        ...


class Ear(Protocol):
    """Hears announcements until it is closed or lost."""

    @property
    def lost(self) -> bool: ...

    def close(self) -> None: ...


class Mailbox(Protocol):
    """A process's own: it hears what is told to its address until it is closed."""

    address: str

    @property
    def lost(self) -> bool:
        """It hears nothing more. What is told to it is kept for some minutes, for `mailbox` to open it again."""
        ...

    def close(self) -> None:
        """What is told to it from now on is lost."""
        ...


class Carrier(Protocol):
    """Moves messages. `send`, `receiver`, `depths` and `close` are its core; why each of the others is needed, it says."""

    name: str
    """For people: what it is called."""
    namespace: str
    """Where the companion keeps its entries in the KV. Carriers that share their queues share it."""
    longest_delay: float
    """Seconds; a longer delay is refused."""
    capabilities: frozenset[Capability]
    """What a broker over this carrier may have of the whole contract."""

    def check(self, queues: Iterable[str], ids: Iterable[str] = ()) -> None:
        """Raises ConfigError for names that the carrier cannot have: so a put fails before any of it is written."""
        ...

    def send(self, messages: Sequence[Message]) -> None:
        """Store these messages, durably on return. After an error some may be stored."""
        ...

    def declare(self, queue: str, longest_delay: float) -> None:
        """Make what a later `send` to this queue needs, so that a job's expiry does not run out while queues are made."""
        ...

    def receiver(self, queues: Sequence[str], *, lease: float, name: str, notified: bool) -> Receiver:
        """A new receiver of these queues (none: every queue; raises Unsupported where the carrier knows of none).

        `name` is shown to people. `notified`: `notify` and `evict` reach it while it lives.
        """
        ...

    def notify(self, receiver: str) -> None:
        """Wake the receiver with this id, wherever it is: so a worker learns of a cancellation without polling the KV."""
        ...

    def announce(self, body: bytes) -> None:
        """Tell all that listen just now; lost where nobody does: those who wait for results learn of ends within 5 ms."""
        ...

    def listen(self, heard: Callable[[bytes], None], lost: Callable[[], None]) -> Ear:
        """Hear what is announced from now on; both are called in a thread of the carrier's."""
        ...

    def mailbox(self, address: str, heard: Callable[[bytes], None], lost: Callable[[], None]) -> Mailbox:
        """Open the mailbox with this address, new or lost; both are called in a thread of the carrier's.

        What is heard may be heard twice.
        """
        ...

    def tell(self, messages: Sequence[tuple[str, bytes]]) -> None:
        """Put each body into the mailbox with its address, stored on return; lost where it is closed. For want of a KV."""
        ...

    def connected(self, receiver: str) -> bool:
        """False: the receiver with this id is over, and what it held can be received by others."""
        ...

    def evict(self, receiver: str, failure: Failure) -> int:
        """End this receiver, dead or alive: what it held comes back now, with `failure` as an attempt of started ones.

        Returns how many messages the carrier knows to have come back.
        """
        ...

    def look(self, wanted: Mapping[Place, Collection[str] | None]) -> AbstractContextManager[Look]:
        """Find messages of these jobs (None: any) where they lie: dead jobs are not received, and are retried and purged so.

        Looks at a bounded number of messages of each place. Messages that are delayed or held by others are not found.
        """
        ...

    def depths(self) -> dict[tuple[str, State], int]:
        """Messages by queue and state, as far as the carrier knows; those above 0."""
        ...

    def dead_queues(self) -> list[str]:
        """The queues that may have dead jobs, as far as this client knows."""
        ...

    def close(self) -> None:
        """Let go of connections and threads. Receivers must be closed first. Idempotent."""
        ...


class Carries(Protocol):
    """A broker of messages alone."""

    @property
    def carrier(self) -> Carrier: ...
