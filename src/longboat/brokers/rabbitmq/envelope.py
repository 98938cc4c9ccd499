"""A job as a message of the server: its body is the job, its headers are the envelope. Where each kind of message goes."""

from __future__ import annotations

import time
from typing import Any

import msgspec

from longboat.brokers.rabbitmq.link import Publish
from longboat.brokers.rabbitmq.names import Names, address, key_of, units_of
from longboat.contract.carrier import Envelope, Message
from longboat.core import reasons
from longboat.core.job import Failure

BLANK = Envelope()
HEADERS = {
    name: f"longboat-{name.replace('_', '-')}" for name in Envelope.__struct_fields__ if name not in ("reply", "chain")
}
"""By field. The mailbox to reply to is a property of the message."""
BEHIND = "longboat-chain"
"""How many of the last bytes of the body are the chain: it may be larger than headers."""


def headers_of(envelope: Envelope) -> dict[str, Any]:
    if envelope == BLANK or envelope == msgspec.structs.replace(BLANK, reply=envelope.reply):
        return {}
    headers = {header: _plain(value) for name, header in HEADERS.items() if (value := getattr(envelope, name))}
    return {**headers, BEHIND: len(envelope.chain)} if envelope.chain else headers


def body_of(message: Message) -> bytes:
    chain = message.envelope.chain
    return message.body + chain if chain else message.body


def _plain(value: Any) -> Any:
    return round(value * 1000) if isinstance(value, float) else value


def opened(
    headers: dict[str, Any] | None, body: bytes, *, redelivered: bool, reply: str | None = None
) -> tuple[Envelope, bytes]:
    """The envelope, and the body of the job. Headers that are none of ours make it `unreadable`."""
    if not headers:
        return Envelope(worker_deaths=int(redelivered), reply=reply or ""), body
    try:
        said = {name: headers[header] for name, header in HEADERS.items() if header in headers}
        for name in ("put", "parked", "ended"):
            if name in said:
                said[name] /= 1000
        said["reply"] = reply or ""
        said["worker_deaths"] = said.get("worker_deaths", 0) + headers.get("x-delivery-count", int(redelivered))
        if behind := headers.get(BEHIND, 0):
            if not 0 < behind <= len(body):
                raise ValueError(f"{BEHIND} is {behind}, and the body has {len(body):,} bytes")
            body, said["chain"] = body[:-behind], body[-behind:]
        return msgspec.convert(said, Envelope, builtin_types=(bytes,)), body
    except (TypeError, ValueError) as error:
        return Envelope(unreadable=f"its headers cannot be read: {error}"), body


def given_up(envelope: Envelope, failure: Failure | None = None) -> Envelope:
    """What a dead consumer kept in a queue of its own: one more death, and an attempt if its start was noted."""
    if not envelope.token:
        return envelope
    new = msgspec.structs.replace(envelope, worker_deaths=envelope.worker_deaths + 1, token=0, started=0, worker="")
    if envelope.started:
        failure = failure or reasons.worker_died(envelope.worker, time.time())
        new.attempts = envelope.started
        new.failures = envelope.failed(msgspec.structs.replace(failure, attempt=envelope.started))
    return new


def publish_of(names: Names, message: Message) -> Publish:
    """To its ready queue, by way of the delay queues if it has a delay; or to the dead jobs of its queue."""
    envelope = message.envelope
    if message.dead:
        headers = headers_of(msgspec.structs.replace(envelope, ended=time.time()))
        return Publish("", names.dead(message.queue), body_of(message), headers, message.id, envelope.reply)
    level, units = names.level_of(message.priority), units_of(message.delay)
    if units == 0:
        ready = names.ready(message.queue, level)
        return Publish("", ready, body_of(message), headers_of(envelope), message.id, envelope.reply)
    first = names.step(units.bit_length() - 1)
    key = key_of(units, address(message.queue, level))
    return Publish(first, key, body_of(message), headers_of(envelope), message.id, envelope.reply)


def kept_by(names: Names, receiver: str, message: Message) -> Publish:
    """To the queue of a receiver's own; from there it comes back to its ready queue."""
    key = f"{receiver}.{address(message.queue, names.level_of(message.priority))}"
    return Publish(names.holding, key, body_of(message), headers_of(message.envelope), message.id, message.envelope.reply)
