"""What the server keeps of jobs, made into what people see."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import msgspec

from longboat.brokers.redis.keys import shown
from longboat.brokers.redis.server import Server
from longboat.core import codec, reasons
from longboat.core.job import Failure, Result, State
from longboat.core.views import JobView, job_or_none, job_view, result_of

_AT_ONCE = 500
"""Jobs that are looked up in one call, at most."""
_DONE = struct.Struct(">ddI6sH")
STATES = {b"s": State.SUCCEEDED, b"d": State.DEAD, b"c": State.CANCELLED}
_history = msgspec.msgpack.Decoder(tuple[int, int, list[Failure]])


class Ended:
    """What `done` keeps of a job: see lua/endings.lua."""

    def __init__(self, raw: bytes) -> None:
        self.state = STATES[raw[:1]]
        self.ended, since, self.attempts, _, size = _DONE.unpack_from(raw, 1)
        self.started = since or None
        at = 1 + _DONE.size
        self.queue = raw[at : at + size].decode(errors="surrogateescape")
        self.result = raw[at + size :] if self.state is State.SUCCEEDED else None


def looked_up(server: Server, keys: Sequence[bytes]) -> list[Any]:
    """What lua/find.lua tells of each, in as many calls as it takes."""
    found: list[Any] = []
    while len(found) < len(keys):
        found += server.call("find", *keys[len(found) : len(found) + _AT_ONCE])
    return found


def view(key: bytes, answer: Sequence[Any] | None, queue: str = "") -> JobView | None:
    """From an answer of lua/find.lua; `queue` is where an unreadable one was found."""
    if answer is None:
        return None
    try:
        return _view(key, answer, queue)
    except (IndexError, KeyError, ValueError, struct.error) as error:
        message = answer[1]
        job, why = job_or_none(message), reasons.undecodable(f"what the server keeps of it cannot be read: {error!r}", 0.0)
        job_id = job.id if job else shown(key)
        return job_view(job, message, id=job_id, state=State.DEAD, queue=queue, attempts=0, failures=[why])


def _view(key: bytes, answer: Sequence[Any], queue: str) -> JobView:
    name, message, history, *details = answer
    job, state = job_or_none(message), State(name.decode())
    attempts, _, failures = read_history(history)
    seen = job_view(
        job,
        message,
        id=job.id if job else shown(key),
        state=state,
        queue=job.queue if job else queue,
        attempts=attempts,
        failures=failures,
    )
    if state.ended:
        ended = Ended(details[0])
        seen.queue, seen.attempts, seen.result = ended.queue, ended.attempts, ended.result
        seen.started, seen.ended = ended.started, ended.ended
    elif state is State.RUNNING:
        seen.started, seen.worker = float(details[0]), details[1].decode(errors="replace")
    elif state is State.SCHEDULED and details[0] is not None:
        seen.due = float(details[0])
    return seen


def result(key: bytes, job_id: str, answer: Sequence[Any] | None) -> Result | None:
    """From the same answer, for the job with this id."""
    seen = view(key, answer)
    if seen is None or not seen.state.ended or seen.id not in (job_id, shown(key)):
        return None
    return result_of(job_id, seen.state, value=seen.result, failures=seen.failures, task=seen.task, attempts=seen.attempts)


def read_history(history: bytes | None) -> tuple[int, int, list[Failure]]:
    """Attempts, worker deaths, failures."""
    if not history:
        return 0, 0, []
    try:
        return _history.decode(history)
    except codec.DECODE_ERRORS as error:
        return 0, 0, [reasons.undecodable(f"the recorded failures cannot be read: {error}", 0.0)]
