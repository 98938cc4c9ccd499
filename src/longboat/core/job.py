"""A job as plain data, its states, and the outcomes an attempt can have. Nothing here does I/O."""

from __future__ import annotations

import enum
import os
import re
import threading
import time

import msgspec

from longboat.core.bounds import Name, Priority, Seconds, Value
from longboat.core.constraints import Constraints, JobLimit

DEFAULT_QUEUE = "default"
DEFAULT_KEEP = 3600.0
"""Seconds that an ended job stays readable when nobody says otherwise."""

MESSAGE_VERSION = 1


class State(enum.StrEnum):
    """Where a job is. Only attempts are "failed"."""

    SCHEDULED = "scheduled"
    """Its time has not come: it has a delay, or pauses before a retry."""
    WAITING = "waiting"
    """It waits for something else: a worker that knows its task, the jobs it comes after, a limit, or for the broker."""
    READY = "ready"
    """A worker may receive it."""
    RUNNING = "running"
    """Leased to a worker."""
    SUCCEEDED = "succeeded"
    """An attempt returned. Its result is kept for the time that its task says."""
    DEAD = "dead"
    """Its attempts are used up, or it could not be run at all. It can be retried."""
    CANCELLED = "cancelled"
    """Cancelled, or expired before it started."""

    @property
    def ended(self) -> bool:
        """Whether it is succeeded, dead or cancelled."""
        return self in ENDED


ENDED = frozenset({State.SUCCEEDED, State.DEAD, State.CANCELLED})


class Job(msgspec.Struct, array_like=True, gc=False):
    """One call of a task. A stored job never changes: the broker keeps beside it what does.

    The order of the fields is the wire format: fields are only ever added at the end, with a default. Durations count from
    the put, by the broker's clock.
    """

    # gc=False, here and in everything that is made once per job, keeps it from the garbage collector, which took 13 % of a
    # busy worker's time: none of these can be part of a cycle.

    v: int
    """The version of the message, of the program that wrote it."""
    id: Name
    """33 characters if Longboat made it, or the caller's own."""
    task: Name
    """The task's name."""
    payload: Value
    """The arguments, a msgpack map from parameter to value."""
    queue: Name = DEFAULT_QUEUE
    """Where it waits."""
    priority: Priority = 0
    """Any 32-bit integer; higher first."""
    delay: Seconds = 0.0
    """Seconds before it may start."""
    expires: Seconds | None = None
    """Seconds after which it is cancelled unless it has started."""
    keep: Seconds = DEFAULT_KEEP
    """Seconds that it stays readable after success; 0: forgotten at once."""
    enqueued: Seconds = 0.0
    """Wall-clock time at the caller. It is shown to people and decides nothing."""
    headers: dict[str, str] = {}
    """What travels with it: of middlewares, and the retries and timeout given by `using`."""
    constraints: Constraints | None = None
    """None, as with most jobs: it depends on no other job."""


def limited(job: Job, limits: list[JobLimit]) -> Job:
    """The same job with these limits."""
    constraints = msgspec.structs.replace(job.constraints or Constraints(), limits=limits)
    return msgspec.structs.replace(job, constraints=constraints)


class Failure(msgspec.Struct, array_like=True):
    """How one attempt failed, as the worker reports it. Kept with the job and shown to people."""

    type: str
    """The exception's qualified name, or a reason of Longboat's: "longboat.Timeout", "longboat.Killed", …"""
    message: str
    """The exception's text."""
    traceback: str = ""
    """As Python prints it. Empty where there is none: a killed process leaves none."""
    attempt: int = 0
    """The attempt that failed, from 1; 0: no attempt had been counted."""
    at: float = 0.0
    """When, in seconds since the epoch."""
    worker: str = ""
    """The name of the worker that ran it."""


class Done(msgspec.Struct, gc=False):
    """The attempt succeeded. `result` is the encoded value (codec.py)."""

    result: Value


class Retry(msgspec.Struct):
    """The attempt failed and counts; the job is ready again after `delay` seconds."""

    delay: Seconds
    failure: Failure


class Dead(msgspec.Struct):
    """The job is dead. It can still be found, with the failure of every attempt, and it can be retried."""

    failure: Failure
    counted: bool = True
    """False: this attempt was not made; the job had none left."""


class Cancelled(msgspec.Struct):
    """The job is cancelled; `failure` says why (asked for, or expired)."""

    failure: Failure


class Release(msgspec.Struct):
    """Hand the job back after `delay` seconds, at its old place in its queue. This counts as no attempt."""

    delay: Seconds = 0.0
    limits: list[JobLimit] | None = None
    """Those that it has from now on, in place of LATER; None: it keeps its own."""


class Park(msgspec.Struct):
    """Hand the job back: it waits for a consumer that names its task, and is dead after `patience` seconds.

    This counts as no attempt.
    """

    patience: Seconds
    failure: Failure


Outcome = Done | Retry | Dead | Cancelled | Release | Park


class Result(msgspec.Struct):
    """How a job ended: `value` when it succeeded, `failure` when it is dead or was cancelled."""

    id: str
    state: State
    value: bytes | None = None
    failure: Failure | None = None
    task: str = ""
    attempts: int = 0
    of: str = ""
    """Where it comes after a job that is dead or cancelled, and so does not start: the id of that one, whose end this is."""


FAILURES_KEPT = 25
"""Failures kept with a job, the newest."""

_generated = re.compile(r"[0-9a-f]{16}-[0-9a-f]{16}").fullmatch
_lock = threading.Lock()
_last = 0
_suffix = ""


def _after_fork() -> None:
    global _suffix, _lock
    _suffix = ""
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_after_fork)


def new_id() -> str:
    """A new job id: 16 hex digits that grow with time in this process, a dash, 16 random ones for this process."""
    first, suffix = _next(1)
    return f"{first:016x}{suffix}"


def new_ids(count: int) -> list[str]:
    """New job ids, growing."""
    first, suffix = _next(count)
    return [f"{number:016x}{suffix}" for number in range(first, first + count)]


def _next(count: int) -> tuple[int, str]:
    """The first of so many numbers, and what is behind them."""
    global _last, _suffix
    with _lock:
        if not _suffix:
            _suffix = "-" + os.urandom(8).hex()
        # Microseconds fill the upper 51 bits (until the year 2041) and a counter the lower 12: always under 2**63.
        first = max(_last + 1, (time.time_ns() // 1000) << 12)
        _last = first + count - 1
        return first, _suffix


def made_here(job_id: str) -> bool:
    """Whether `new_id` made it in this process."""
    return len(job_id) == 33 and bool(_suffix) and job_id.endswith(_suffix)


def order_of(job_id: str) -> int | None:
    """The time order within a generated id (an int under 2**63); None for an id chosen by a caller."""
    if len(job_id) != 33 or _generated(job_id) is None:
        return None
    order = int(job_id[:16], 16)
    return order if order < 1 << 63 else None
