"""What the server keeps of jobs, made into what people look at."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import msgspec

from longboat.brokers.redis.keys import shown
from longboat.core import codec
from longboat.core.job import Failure, Job, State
from longboat.core.views import JobView
from longboat.errors import Undecodable

_DONE = struct.Struct(">ddI6sH")
_STATES = {"s": State.SUCCEEDED, "d": State.DEAD, "c": State.CANCELLED}
_history = msgspec.msgpack.Decoder(tuple[int, int, list[Failure]])


class Ended:
    """What `done` keeps of a job: see lua/endings.lua."""

    def __init__(self, raw: bytes) -> None:
        self.state = _STATES[chr(raw[0])]
        self.ended, since, self.attempts, _, size = _DONE.unpack_from(raw, 1)
        self.started = since or None
        at = 1 + _DONE.size
        self.queue = raw[at : at + size].decode(errors="surrogateescape")
        self.result = raw[at + size :] if self.state is State.SUCCEEDED else None


def view(key: bytes, answer: Sequence[Any] | None, queue: str = "") -> JobView | None:
    """From an answer of lua/find.lua; `queue` is where an unreadable one was found."""
    if answer is None:
        return None
    state, message, history, *rest = answer
    job = job_or_none(message)
    attempts, failures = _past(history)
    seen = JobView(
        id=job.id if job else shown(key),
        state=State(state.decode()),
        queue=job.queue if job else queue,
        task=job.task if job else "",
        priority=job.priority if job else 0,
        attempts=attempts,
        payload=job.payload if job else message,
        enqueued=job.enqueued if job else None,
        failures=failures,
        constraints=job.constraints if job else None,
        headers=job.headers if job else {},
    )
    if seen.state.ended:
        ended = Ended(rest[0])
        seen.queue, seen.attempts, seen.result = ended.queue, ended.attempts, ended.result
        seen.started, seen.ended = ended.started, ended.ended
    elif seen.state is State.RUNNING:
        seen.started, seen.worker = float(rest[1]), rest[3].decode(errors="replace")
    elif seen.state is State.SCHEDULED and rest[1] is not None:
        seen.due = float(rest[1])
    return seen


def job_or_none(message: bytes | None) -> Job | None:
    try:
        return codec.decode_job(message or b"")
    except Undecodable:
        return None


def last_failure(history: bytes | None) -> Failure | None:
    failures = _past(history)[1]
    return failures[-1] if failures else None


def _past(history: bytes | None) -> tuple[int, list[Failure]]:
    if not history:
        return 0, []
    try:
        attempts, _, failures = _history.decode(history)
    except msgspec.MsgspecError as error:
        return 0, [Failure("longboat.Undecodable", f"the recorded failures cannot be read: {error}")]
    return attempts, failures
