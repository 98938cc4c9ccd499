"""What people see of a broker: jobs, limits, consumers, pages of jobs; and how a broker makes them of what it keeps."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from longboat.core import codec
from longboat.core.constraints import Constraints
from longboat.core.job import Failure, Job, Result, State
from longboat.errors import Undecodable


class JobView(msgspec.Struct):
    """A job as people see it. Times are seconds since the epoch, None where they do not apply."""

    id: str
    """The job's id."""
    state: State
    """Where it is now."""
    queue: str
    """The queue that it was put into."""
    task: str
    """The task's name."""
    priority: int
    """Higher first, within a queue."""
    attempts: int
    """Attempts that have ended, of those that count."""
    payload: bytes
    """The encoded arguments; of an undecodable message, its raw bytes."""
    enqueued: float | None = None
    """When it was enqueued, by the caller's clock."""
    due: float | None = None
    """When a scheduled job may start."""
    started: float | None = None
    """When the latest attempt started."""
    ended: float | None = None
    """When the job ended."""
    worker: str | None = None
    """Who holds it, while it runs."""
    result: bytes | None = None
    """Of a job that has succeeded: the result, encoded. `Handle.result` decodes it."""
    failures: list[Failure] = []
    """Every failed attempt, oldest first; at most the newest 25."""
    constraints: Constraints | None = None
    """How it depends on other jobs: flow, limits, fairness key."""
    headers: dict[str, str] = {}
    """What travels with it."""
    delay: float = 0.0
    """Seconds for which it was delayed when it was enqueued."""

    @property
    def waits_since(self) -> float | None:
        """Since when it could have been running: it was enqueued, its delay was over, its last attempt had failed."""
        if not self.enqueued:
            return None
        return max(self.enqueued + self.delay, self.failures[-1].at if self.failures else 0.0)

    @property
    def begun(self) -> int:
        """Attempts that have begun: those made, and the one that runs. This is what people are shown as its attempts."""
        return self.attempts + (self.state is State.RUNNING)


class ConsumerView(msgspec.Struct):
    """A consumer as people see it."""

    id: str
    name: str
    queues: list[str]
    """Empty: every queue."""
    running: int
    """Leases it holds."""
    deadline: float
    """Wall-clock time at which its jobs come back unless it is heard from before."""


class LimitView(msgspec.Struct):
    """A limit's key as people see it."""

    key: str
    running: int
    """Leases that count."""
    holders: list[str]
    """Ids of the leased jobs, at most ten."""
    waiting: int
    """Jobs it blocks that have not come back to their queue."""
    started: int = 0
    """Leases in the last `per` seconds, where starts are limited."""
    opens: float | None = None
    """Wall-clock time at which it has room again, when only time blocks it."""


class Page(msgspec.Struct):
    """Some jobs, and where to go on."""

    jobs: list[JobView]
    after: str | None
    """Give this to the next call; None: that was all."""


STATES = frozenset(State)


def queues_of(text: str | bytes) -> list[str]:
    """The queues that a consumer's record names, as JSON; none that cannot be read."""
    try:
        return msgspec.json.decode(text, type=list[str])
    except codec.DECODE_ERRORS:
        return []


def told_view(result: Result) -> JobView:
    """A view of a job of which only its end is known: no arguments, no queue, no times, and the last failure alone."""
    return JobView(
        id=result.id,
        state=result.state,
        queue="",
        task=result.task,
        priority=0,
        attempts=result.attempts,
        payload=b"",
        result=result.value,
        failures=[result.failure] if result.failure else [],
    )


def job_or_none(message: bytes | None) -> Job | None:
    """The job in a stored message; None where there is none, or it cannot be decoded."""
    try:
        return codec.decode_job(message) if message else None
    except Undecodable:
        return None


def job_view(
    job: Job | None,
    message: bytes | None,
    *,
    id: str,
    state: State,
    queue: str,
    attempts: int,
    failures: list[Failure],
    priority: int = 0,
    due: float | None = None,
    started: float | None = None,
    ended: float | None = None,
    worker: str | None = None,
    result: bytes | None = None,
) -> JobView:
    """A view of what a broker keeps: the job, decoded, or None and the message as it is; and the facts kept beside it.

    `priority` is where the job stands in its queue; it is shown only when the message does not tell.
    """
    return JobView(
        id=id,
        state=state,
        queue=queue,
        task=job.task if job else "",
        priority=job.priority if job else priority,
        attempts=attempts,
        payload=job.payload if job else (message or b""),
        enqueued=job.enqueued if job else None,
        due=due,
        started=started,
        ended=ended,
        worker=worker,
        result=result,
        failures=failures,
        constraints=job.constraints if job else None,
        headers=job.headers if job else {},
        delay=job.delay if job else 0.0,
    )


def result_of(
    id: str, state: State, *, value: bytes | None, failures: Sequence[Failure], task: str, attempts: int
) -> Result:
    """How a job ended: with its value if it succeeded, else with the last of its failures."""
    if state is State.SUCCEEDED:
        return Result(id, state, value, None, task, attempts)
    return Result(id, state, None, failures[-1] if failures else None, task, attempts)
