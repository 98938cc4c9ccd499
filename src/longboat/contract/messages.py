"""The messages by which a job is put, goes on after an attempt, or lies among the dead: on carriers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from longboat.contract import chains
from longboat.contract.carrier import Delivery, Envelope, Message
from longboat.core.job import Job, State
from longboat.core.transitions import Transition

PARK_PAUSE = 1.0
"""Seconds after which a parked job goes round again, to be looked at by whoever receives it."""

PIECE = 16_000_000
"""Bytes of messages after which those so far are sent: a result of 1 MB goes into the message of each job after it."""


def message_of(job: Job, body: bytes, envelope: Envelope, delay: float = 0.0, *, dead: bool = False) -> Message:
    return Message(job.id, job.queue, job.priority, body, envelope, delay, dead)


def next_envelope(envelope: Envelope, then: Transition, now: float) -> Envelope:
    """What the next message of a job says, once an attempt was settled so."""
    new = Envelope(envelope.attempts + then.counts, failures=envelope.failed(*then.failures), put=envelope.put)
    new.reply, new.chain = envelope.reply, envelope.chain
    if not (then.forgets_deaths or then.state.ended):
        new.worker_deaths = envelope.worker_deaths
    if then.parked is not None:
        new.parked, new.why = now + then.delay, Envelope().failed(then.parked)
    return new


def next_message(delivery: Delivery, job: Job, then: Transition, now: float) -> Message:
    """The message by which a job goes on, or lies among the dead."""
    delay = min(PARK_PAUSE, then.delay) if then.parked else then.delay
    envelope = next_envelope(delivery.envelope, then, now)
    return message_of(job, delivery.body, envelope, delay, dead=then.state is State.DEAD)


def next_messages(chain: chains.Chain, result: bytes) -> Iterator[Message]:
    """The jobs right after one of a chain that has succeeded with this result."""
    for each in chains.after(chain, result):
        put = chain.at if each.job.expires is not None else 0.0
        envelope = Envelope(put=put, reply=chain.reply if each.replied else "", chain=chains.encode(each.chain))
        yield message_of(each.job, each.body, envelope, each.job.delay)


def gather(more: Iterable[Message], messages: list[Message], send: Callable[[Sequence[Message]], None]) -> None:
    """Add these messages, which are made one by one, and send all so far whenever they are large together."""
    size = sum(map(_size, messages))
    for each in more:
        messages.append(each)
        size += _size(each)
        if size > PIECE:
            send(messages)
            messages.clear()
            size = 0


def _size(message: Message) -> int:
    return len(message.body) + len(message.envelope.chain)
