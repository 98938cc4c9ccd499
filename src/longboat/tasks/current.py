"""The job that runs here: what a task's function can know and report about it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Mapping
from contextvars import ContextVar
from math import isfinite
from types import MappingProxyType
from typing import Any, ParamSpec, Protocol, TypeVar, cast, overload

from longboat.core import codec
from longboat.core.clock import SYSTEM
from longboat.errors import ConfigError
from longboat.tasks.handle import Handle, LogLine, Progress
from longboat.tasks.kinds import Kind, kind_of_result
from longboat.tasks.task import Task

P = ParamSpec("P")
R = TypeVar("R")

STEPS = "steps:"
"""The KV namespace of a job's finished steps is this and its id: an entry for each, by name."""
STEPS_KEPT = 7 * 86400.0

NO_HEADERS: Mapping[str, str] = MappingProxyType({})


class JobChannel(Protocol):
    """Carries what a running job reports: to the worker, or over a socket to it."""

    worker: str
    """The worker's name."""

    def progress(self, job_id: str, progress: Progress) -> None:
        """Show it soon; the newest one counts. Returns at once and never raises."""
        ...

    def log(self, job_id: str, line: LogLine) -> None:
        """Keep it, if there is room. Returns at once and never raises."""
        ...

    def steps(self, job_id: str) -> dict[str, bytes]:
        """The results of finished steps by name. Raises BrokerError."""
        ...

    def finish(self, job_id: str, step: str, result: bytes) -> None:
        """Keep a step's result, durably on return. Raises BrokerError."""
        ...


def carried(text: object) -> str:
    """The text as UTF-8 can carry it: names of files may hold what it cannot."""
    return str(text).encode("utf-8", "backslashreplace").decode()


class Running:
    """The attempt that is running, as `longboat.current()` gives it."""

    __slots__ = ("_job_channel", "_steps", "attempt", "headers", "id", "queue", "stopping", "task")

    def __init__(
        self,
        id: str,
        task: str,
        queue: str,
        attempt: int,
        job_channel: JobChannel | None = None,
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> None:
        self.id = id
        """The job's id."""
        self.task = task
        """The task's name."""
        self.queue = queue
        """The queue that the job was received from."""
        self.attempt = attempt
        """1 at the first attempt, 2 at the next."""
        self.headers = headers
        """What came with the job; not to be changed."""
        self.stopping = False
        """Whether the time is up or the job was cancelled. Functions in threads look at it, and return when it is true."""
        self._job_channel = job_channel
        self._steps: dict[str, bytes] | None = None

    @property
    def worker(self) -> str:
        """The name of the worker that runs it; empty where none does, as in a replay."""
        return "" if self._job_channel is None else self._job_channel.worker

    @property
    def cancelled(self) -> bool:
        """Whether the job should end: its time is up, or it was cancelled."""
        return self.stopping

    def progress(self, done: float, total: float | None = None, text: str = "") -> None:
        """Report how far it is: `job.progress(30, 100, "reading")`. Call it often: a few reports a second are written.

        What is no finite number counts as 0, or as no total.
        """
        if self._job_channel is not None:
            done = done if isfinite(done) else 0.0
            of = float(total) if total is not None and isfinite(total) else None
            self._job_channel.progress(self.id, Progress(float(done), of, carried(text), SYSTEM.now()))

    def log(self, text: str, level: str = "INFO") -> None:
        """Keep a line with this attempt. Records of `logging` are kept too, where the level of their logger allows it."""
        if self._job_channel is not None:
            self._job_channel.log(self.id, LogLine(SYSTEM.now(), carried(level), carried(text), self.attempt))

    @overload
    def step(
        self, name: str, fn: Callable[P, Coroutine[Any, Any, R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[Any, Any, R]: ...
    @overload
    def step(self, name: str, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    def step(self, name: str, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Run a part of the job once: its result is kept, and a retried job continues after the last finished step.

        The result must be plain data or what the function's return annotation names. Await the step of a coroutine function.
        If the worker dies after `fn` has ended and before its result is kept, that one step runs again.
        """
        kind = kind_of_result(fn) or Kind()
        if inspect.iscoroutinefunction(fn):
            return self._astep(name, kind, fn, args, kwargs)
        found = self._found(name)
        result = kind.encode(fn(*args, **kwargs)) if found is None else found
        if found is None:
            self._keep(name, result)
        return codec.decode(result, kind.wire)

    async def _astep(self, name: str, kind: Kind, fn: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        import asyncio

        found = await asyncio.to_thread(self._found, name)
        result = kind.encode(await fn(*args, **kwargs)) if found is None else found
        if found is None:
            await asyncio.to_thread(self._keep, name, result)
        return codec.decode(result, kind.wire)

    def _found(self, name: str) -> bytes | None:
        if self._steps is None:
            self._steps = self._job_channel.steps(self.id) if self._job_channel is not None and self.attempt > 0 else {}
        return self._steps.get(name)

    def _keep(self, name: str, result: bytes) -> None:
        if self._job_channel is not None:
            self._job_channel.finish(self.id, name, result)
        self._steps = {**(self._steps or {}), name: result}

    def enqueue(self, task: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> Handle[Any]:
        """Enqueue another job as a child of this one: recorded under the header "parent", and part of this one's flow."""
        if not isinstance(task, Task):
            raise ConfigError(f"{task!r} is no task: decorate it with @app.task, or use app.enqueue")
        return cast("Task[P, Any]", task).enqueue_child(self.id, *args, **kwargs)


running: ContextVar[Running] = ContextVar("longboat.running")


def current() -> Running:
    """The job that this function is running for. Raises LookupError outside of a job."""
    try:
        return running.get()
    except LookupError:
        raise LookupError(
            "no job is running here: longboat.current() works inside a task that a worker runs. In a test, "
            "longboat.testing.Harness runs tasks as jobs: `with Harness(app) as jobs, jobs.eager():`"
        ) from None
