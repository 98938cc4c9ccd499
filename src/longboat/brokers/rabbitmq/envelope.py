"""A job as a message: its body is the job, its headers what changes about it. They travel when it is published again."""

from __future__ import annotations

import time
from typing import Any

import msgspec

from longboat.brokers.rabbitmq.link import Message
from longboat.brokers.rabbitmq.names import Names, address, key_of, level_of, units_of
from longboat.contract.broker import Lease
from longboat.core.codec import decode_failures, decode_job, encode_failures, encode_job
from longboat.core.job import FAILURES_KEPT, Cancelled, Dead, Done, Failure, Job, Outcome, Park, Release, Retry
from longboat.core.reasons import WORKER_DIED

TRACEBACK_KEPT = 2000
"""Characters of each traceback, its end: all headers of a message fit one frame of 128 kB."""


class Envelope(msgspec.Struct):
    """What the headers say."""

    attempts: int = 0
    worker_deaths: int = 0
    failures: bytes = b""
    put: float = 0.0
    """When it was put, by the caller's clock, if it expires."""
    parked: float = 0.0
    """Until when it waits for who knows its task; 0: it does not."""
    why: bytes = b""
    """The failure it was parked with."""
    ended: float = 0.0
    token: int = 0
    """Of the lease, while a consumer holds it in a queue of its own."""
    started: int = 0
    """The attempt that was noted as started there."""
    worker: str = ""
    copy: str = ""
    """The name of this message among those of its job, where a store is kept."""
    again: bool = False
    """It may be a second message of its job."""

    def headers(self) -> dict[str, Any]:
        if self == BLANK:
            return {}
        said = {name.replace("_", "-"): value for name, value in msgspec.structs.asdict(self).items() if value}
        return {f"longboat-{name}": _plain(value) for name, value in said.items()}

    def failed(self, failure: Failure) -> bytes:
        """The failures with one more, as a header holds them."""
        short = msgspec.structs.replace(
            failure, message=failure.message[-500:], traceback=failure.traceback[-TRACEBACK_KEPT:]
        )
        return encode_failures([*decode_failures(self.failures), short][-FAILURES_KEPT:])


BLANK = Envelope()


def _plain(value: Any) -> Any:
    return round(value * 1000) if isinstance(value, float) else value


def opened(headers: dict[str, Any] | None, *, redelivered: bool) -> Envelope:
    if not headers:
        return Envelope(worker_deaths=int(redelivered))
    said = headers
    envelope = Envelope(
        said.get("longboat-attempts", 0),
        said.get("longboat-worker-deaths", 0),
        said.get("longboat-failures", b""),
        said.get("longboat-put", 0) / 1000,
        said.get("longboat-parked", 0) / 1000,
        said.get("longboat-why", b""),
        said.get("longboat-ended", 0) / 1000,
        said.get("longboat-token", 0),
        said.get("longboat-started", 0),
        said.get("longboat-worker", ""),
        said.get("longboat-copy", ""),
        said.get("longboat-again", False),
    )
    envelope.worker_deaths += said.get("x-delivery-count", int(redelivered))
    return envelope


def given_up(envelope: Envelope, failure: Failure | None = None) -> Envelope:
    """What a dead consumer held in a queue of its own: one more return, and charged if its start was noted."""
    if not envelope.token:
        return envelope
    new = msgspec.structs.replace(envelope, worker_deaths=envelope.worker_deaths + 1, token=0, started=0, worker="")
    if envelope.started:
        failure = failure or Failure(WORKER_DIED, f"the worker {envelope.worker} died while it ran this", at=time.time())
        new.attempts = envelope.started
        new.failures = envelope.failed(msgspec.structs.replace(failure, attempt=envelope.started))
    return new


def lease_of(body: bytes, envelope: Envelope, tag: int) -> Lease:
    """Raises Undecodable."""
    failures = len(decode_failures(envelope.failures)) if envelope.failures else 0
    return Lease(decode_job(body), envelope.attempts + 1, tag, envelope.worker_deaths, failures)


def after(envelope: Envelope, attempt: int, outcome: Outcome) -> Envelope:
    """What the next message of this job says, once this attempt has had this outcome."""
    match outcome:
        case Retry(_, failure):
            return msgspec.structs.replace(BLANK, attempts=attempt, failures=envelope.failed(failure), put=envelope.put)
        case Release():
            return msgspec.structs.replace(envelope, parked=0.0, why=b"")
        case Park(patience, failure):
            return msgspec.structs.replace(envelope, parked=time.time() + patience, why=encode_failures([failure]))
        case Dead(failure, counted):
            made = attempt if counted else envelope.attempts
            return msgspec.structs.replace(BLANK, attempts=made, failures=envelope.failed(failure), put=envelope.put)
        case Done() | Cancelled():
            return envelope


def ready(names: Names, job: Job, envelope: Envelope, delay: float, body: bytes | None = None) -> Message:
    """To its ready queue, by way of the delay queues if it has a delay."""
    body = encode_job(job) if body is None else body
    level, units = level_of(job.priority), units_of(delay)
    if units == 0:
        return Message("", names.ready(job.queue, level), body, envelope.headers(), job.id)
    first = names.step(units.bit_length() - 1)
    return Message(first, key_of(units, address(job.queue, level)), body, envelope.headers(), job.id)


def kept(names: Names, consumer: str, job: Job, envelope: Envelope, body: bytes) -> Message:
    """To the queue of a consumer's own; from there it comes back to its ready queue."""
    key = f"{consumer}.{address(job.queue, level_of(job.priority))}"
    return Message(names.holding, key, body, envelope.headers(), job.id)


def dead(names: Names, queue: str, job_id: str, body: bytes, envelope: Envelope) -> Message:
    envelope = msgspec.structs.replace(envelope, ended=time.time())
    return Message("", names.dead(queue), body, envelope.headers(), job_id)
