"""Handle: what `enqueue` returns, to wait for a job's result, look at its state or cancel it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Generator, Iterator, Sequence
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from longboat.core.bounds import Amount, Seconds
from longboat.core.clock import Duration
from longboat.core.job import Result, State
from longboat.core.views import JobView
from longboat.errors import ConfigError
from longboat.tasks.elsewhere import instead

R = TypeVar("R")


PROGRESS = "progress"
"""The KV namespace of the newest progress of running jobs, by id."""
LOGS = "log:"
"""The KV namespace of a job's lines is this and its id. Its keys are in the order in which the lines were logged."""


ELSEWHERE = {
    "get": "result(…)",
    "wait": "result(…)",
    "join": "result(…)",
    "return_value": "result(…)",
    "latest_result": "result(…)",
    "get_result": "result(…)",
    "wait_result": "result(…)",
    "state": "status()",
    "get_status": "status()",
    "ready": "status().ended",
    "is_finished": "status().ended",
    "done": "status().ended",
    "successful": "status()",
    "failed": "status()",
    "is_failed": "status()",
    "revoke": "cancel()",
    "abort": "cancel()",
    "info": "view()",
    "refresh": "view()",
    "delay": "enqueue(…) of a task: this job is enqueued already",
    "enqueue": "enqueue(…) of a task: this job is enqueued already",
}
"""What other queues call a method of a handle -> ours."""


class Progress(msgspec.Struct, array_like=True):
    """How far a job is, as it reports itself."""

    done: Amount
    """How much is done, in the job's own unit."""
    total: Amount | None = None
    """How much there is, where that is known."""
    text: str = ""
    """What it is doing; at most 4,000 characters."""
    at: Seconds = 0.0
    """When it was reported, in seconds since the epoch."""


class Update(msgspec.Struct, frozen=True):
    """What changes of a job while somebody watches it."""

    state: State
    """The state that it is in."""
    done: float = 0.0
    """How much is done, by its newest progress."""
    total: float | None = None
    """How much there is, where that is known."""
    text: str = ""
    """What it was doing then."""
    error: str = ""
    """The message of its last failure."""


class LogLine(msgspec.Struct, array_like=True):
    """What a job logged while it ran."""

    at: Seconds
    """When, in seconds since the epoch."""
    level: str
    """Such as "INFO" or "WARNING", as `logging` names them."""
    text: str
    """The line."""
    attempt: int = 0
    """The attempt that logged it, from 1."""


class HandleClient(Protocol):
    """The calling side as a handle sees it."""

    def result(self, handle: Handle[R], timeout: Duration | None) -> R: ...
    async def aresult(self, handle: Handle[R]) -> R: ...
    def subscribe(
        self, handles: Sequence[Handle[Any]], sink: Callable[[str], None], failed: Callable[[Exception], None] | None = None
    ) -> Callable[[], None]: ...
    def look(self, handles: Sequence[Handle[Any]]) -> object: ...
    def why(self, job_id: str) -> str: ...
    def unserved(self, job_id: str) -> str: ...
    def view(self, job_id: str) -> JobView: ...
    def progress(self, job_id: str) -> Progress | None: ...
    def logs(self, job_id: str) -> list[LogLine]: ...
    def watch(self, handle: Handle[Any]) -> Iterator[Update]: ...
    def awatch(self, handle: Handle[Any]) -> AsyncIterator[Update]: ...
    def cancel(self, job_id: str, reason: str) -> bool: ...
    def retry(self, job_id: str, reason: str) -> bool: ...


class Handle(msgspec.Struct, Generic[R], eq=False, gc=False):
    """One job that was enqueued. It can be awaited, also several times and by several coroutines."""

    # gc=False: the garbage collector took a quarter of the time of enqueueing many. A handle is in no cycle for long.

    client: HandleClient
    id: str
    """The job's id. Keep it to look the job up later, from any process: `app.job(id)`."""
    task: str
    """The task's name; empty where only the id is known."""
    kind: Any = Any
    """What the result is converted to."""
    keep: float | None = None
    """Seconds that the result is kept; None where only the id is known."""
    new: bool = True
    """False: this call had no effect, because a job with this id was known already. RabbitMQ without a store remembers no
    ids, so it is always True there, unless a call that counts as one (`unique`) was found."""
    known: Result | Exception | None = None
    """How the job ended, once this process has heard of it."""

    def result(self, timeout: Duration | None = None) -> R:
        """The task's return value. Waits for at most `timeout`, or as long as it takes.

        Raises JobFailed when the job is dead, JobCancelled when it was cancelled or expired, ResultTimeout when it has not
        ended in time, saying why, JobNotFound when the broker does not know it (or its task keeps no result). Blocks the
        thread: where an event loop runs it raises WouldBlock at once, unless the job is known to have ended; await the
        handle there.
        """
        return self.client.result(self, timeout)

    def __await__(self) -> Generator[Any, None, R]:
        """As `result`, without blocking the event loop. Use asyncio.timeout to bound it."""
        return self.client.aresult(self).__await__()

    def status(self) -> State:
        """The job's state now. Raises JobNotFound, and Unsupported where `view` does."""
        return self.view().state

    def view(self) -> JobView:
        """All that the broker knows of the job: attempts, failures, times. Raises JobNotFound.

        RabbitMQ without a store raises Unsupported, unless this process enqueued the job and was told of its end. Then the
        view has its state, task, attempts, result and last failure, and nothing else.
        """
        return self.client.view(self.id)

    def progress(self) -> Progress | None:
        """The newest progress that the job reported, at most half a second late; None if there was none within a day."""
        return self.client.progress(self.id)

    def watch(self) -> Iterator[Update]:
        """What the job's state and progress are now, and again whenever they change, until it has ended: `for update in
        job.watch():`. Changes are half a second late at most; while the broker is down it waits.

        RabbitMQ without a store says "ready" until the job reports progress or has run for two seconds. It raises JobFailed
        or JobCancelled, as `result` does, for a job after one that failed. A process that did not enqueue the job hears of
        it by the events of workers, and raises Unsupported when it has heard nothing for a minute. Raises JobNotFound, and
        WouldBlock where an event loop runs this thread: use `awatch` there.
        """
        return self.client.watch(self)

    def awatch(self) -> AsyncIterator[Update]:
        """As `watch`, without blocking the event loop: `async for update in job.awatch():`."""
        return self.client.awatch(self)

    def logs(self) -> list[LogLine]:
        """The lines of all its attempts: at most 1,000 of each, kept for a day; of a worker process the newest 50,000."""
        return self.client.logs(self.id)

    def cancel(self, reason: str = "") -> bool:
        """Cancel the job, also while it runs (within about a second). False if it had ended already.

        `reason`: for the audit, which says who cancelled it, where and why.

        RabbitMQ without a store cannot find the job: the first worker to come to it within 32 days ends it, and False is
        returned only where this process was told of its end.
        """
        return self.client.cancel(self.id, reason)

    def retry(self, reason: str = "") -> bool:
        """Run the job again if it is dead: its attempts count anew, its failures are kept. False if it is not dead.

        `reason`: as for `cancel`.

        `result()` and `await` then wait for its new end. RabbitMQ without a store looks for it in all queues that are known.
        """
        if retried := self.client.retry(self.id, reason):
            self.known = None
        return retried

    def _repr_html_(self) -> str:
        """What a notebook shows: state, progress, result or last error, and where there is more."""
        from longboat.tasks.card import card

        return card(self)

    def __repr__(self) -> str:
        return f"<Handle {self.task or 'job'} {self.id}>"


def checked_id(id: str) -> str:
    """A job's id, for a handle on it. Raises ConfigError for what is no text."""
    if not isinstance(id, str):
        raise ConfigError(f"{id!r} is no job's id, which is a text" + (": give its .id" if isinstance(id, Handle) else ""))
    return id


instead(Handle, ELSEWHERE)
