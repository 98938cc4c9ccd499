"""A job as a message: its body is the job, its headers what changes about it. They travel when it is published again."""

from __future__ import annotations

import time
from typing import Any

import msgspec

from longboat.brokers.rabbitmq.link import Message
from longboat.brokers.rabbitmq.names import Names, address, key_of, level_of, units_of
from longboat.contract.broker import LOST, Lease
from longboat.core.codec import decode_failures, decode_job, encode_failures, encode_job
from longboat.core.job import FAILURES_KEPT, Cancelled, Dead, Done, Failure, Job, Outcome, Park, Release, Retry

TRACEBACK_KEPT = 2000
"""Characters of each traceback, its end: all headers of a message fit one frame of 128 kB."""


class Letter(msgspec.Struct):
    """What the headers say."""

    attempts: int = 0
    returns: int = 0
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
        return {f"longboat-{name}": _plain(value) for name, value in msgspec.structs.asdict(self).items() if value}

    def failed(self, failure: Failure) -> bytes:
        """The failures with one more, as a header holds them."""
        short = msgspec.structs.replace(
            failure, message=failure.message[-500:], traceback=failure.traceback[-TRACEBACK_KEPT:]
        )
        return encode_failures([*decode_failures(self.failures), short][-FAILURES_KEPT:])


BLANK = Letter()


def _plain(value: Any) -> Any:
    return round(value * 1000) if isinstance(value, float) else value


def opened(headers: dict[str, Any] | None, *, redelivered: bool) -> Letter:
    if not headers:
        return Letter(returns=int(redelivered))
    said = headers
    letter = Letter(
        said.get("longboat-attempts", 0),
        said.get("longboat-returns", 0),
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
    letter.returns += said.get("x-delivery-count", int(redelivered))
    return letter


def given_up(letter: Letter, failure: Failure | None = None) -> Letter:
    """What a dead consumer held in a queue of its own: one more return, and charged if its start was noted."""
    if not letter.token:
        return letter
    new = msgspec.structs.replace(letter, returns=letter.returns + 1, token=0, started=0, worker="")
    if letter.started:
        failure = failure or Failure(LOST, f"the worker {letter.worker} died while it ran this", at=time.time())
        new.attempts = letter.started
        new.failures = letter.failed(msgspec.structs.replace(failure, attempt=letter.started))
    return new


def lease_of(body: bytes, letter: Letter, tag: int) -> Lease:
    """Raises Undecodable."""
    failures = len(decode_failures(letter.failures)) if letter.failures else 0
    return Lease(decode_job(body), letter.attempts + 1, tag, letter.returns, failures)


def after(letter: Letter, attempt: int, outcome: Outcome) -> Letter:
    """What the next message of this job says, once this attempt has had this outcome."""
    match outcome:
        case Retry(_, failure):
            return msgspec.structs.replace(BLANK, attempts=attempt, failures=letter.failed(failure), put=letter.put)
        case Release():
            return msgspec.structs.replace(letter, parked=0.0, why=b"")
        case Park(patience, failure):
            return msgspec.structs.replace(letter, parked=time.time() + patience, why=encode_failures([failure]))
        case Dead(failure, charged):
            made = attempt if charged else letter.attempts
            return msgspec.structs.replace(BLANK, attempts=made, failures=letter.failed(failure), put=letter.put)
        case Done() | Cancelled():
            return letter


def ready(names: Names, job: Job, letter: Letter, delay: float, body: bytes | None = None) -> Message:
    """To its ready queue, by way of the delay queues if it has a delay."""
    body = encode_job(job) if body is None else body
    level, units = level_of(job.priority), units_of(delay)
    if units == 0:
        return Message("", names.ready(job.queue, level), body, letter.headers(), job.id)
    first = names.step(units.bit_length() - 1)
    return Message(first, key_of(units, address(job.queue, level)), body, letter.headers(), job.id)


def kept(names: Names, consumer: str, job: Job, letter: Letter, body: bytes) -> Message:
    """To the queue of a consumer's own; from there it comes back to its ready queue."""
    key = f"{consumer}.{address(job.queue, level_of(job.priority))}"
    return Message(names.holding, key, body, letter.headers(), job.id)


def dead(names: Names, queue: str, job_id: str, body: bytes, letter: Letter) -> Message:
    letter = msgspec.structs.replace(letter, ended=time.time())
    return Message("", names.dead(queue), body, letter.headers(), job_id)
