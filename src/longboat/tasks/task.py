"""Task: a registered function, and how its jobs are asked for. Registry: the tasks of an app by name."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Generic, Literal, ParamSpec, Protocol, Self, TypeVar, Unpack, cast, get_args

import msgspec

from longboat.core.clock import Duration, seconds
from longboat.core.constraints import Constraints
from longboat.core.job import Job
from longboat.core.retry import Backoff, RetryPolicy, policy
from longboat.errors import BadArguments, ConfigError
from longboat.tasks.arguments import Arguments, decodable
from longboat.tasks.depends import Provider, needs_of
from longboat.tasks.handle import Handle
from longboat.tasks.limits import Unique
from longboat.tasks.schedule import Schedule
from longboat.tasks.signature import Call, FlowEnqueuer, Signature
from longboat.tasks.template import Options, Template

P = ParamSpec("P")
R = TypeVar("R")
M = TypeVar("M")

ExecutorName = Literal["async", "thread", "process"]

BATCH = 1000
"""Jobs that enqueue_many stores together."""


class Settings(msgspec.Struct, frozen=True):
    """How a task's jobs are run, read by workers."""

    executor: ExecutorName
    policy: RetryPolicy
    retry_on: tuple[type[BaseException], ...]
    timeout: float | None
    """Seconds that one attempt may take."""


class Enqueuer(FlowEnqueuer, Protocol):
    """The way out of a task: the app's client."""

    def enqueue(self, job: Job, kind: Any) -> Handle[Any]: ...
    def aenqueue(self, job: Job, kind: Any) -> Coroutine[Any, Any, Handle[Any]]: ...
    def enqueue_many(
        self, batches: Iterable[list[Job]], kind: Any, progress: bool, total: int | None
    ) -> list[Handle[Any]]: ...
    async def aenqueue_many(
        self, batches: Iterable[list[Job]], kind: Any, progress: bool, total: int | None
    ) -> list[Handle[Any]]: ...
    def enqueue_unique(self, job: Job, kind: Any, rule: Unique, key: str) -> Handle[Any]: ...
    async def aenqueue_unique(self, job: Job, kind: Any, rule: Unique, key: str) -> Handle[Any]: ...
    def enqueue_child(self, job: Job, kind: Any, parent: str) -> Handle[Any]: ...
    def enqueue_within(self, connection: object, batches: Iterable[list[Job]], kind: Any) -> list[Handle[Any]]: ...


class Task(Generic[P, R]):
    """A registered function. Calling it runs it here and now; `enqueue` asks for a job.

    Made by `app.task`; safe to use from any thread, and from any coroutine by the methods that begin with "a".
    """

    def __init__(
        self, fn: Callable[..., Any], name: str, settings: Settings, template: Template, enqueuer: Enqueuer | None
    ) -> None:
        self.fn = fn
        self.body = fn
        """What workers run: the function, within the app's middlewares."""
        self.name = name
        self.settings = settings
        self.needs = needs_of(fn, is_async=settings.executor == "async")
        """By parameter: what the worker gives."""
        self.arguments = Arguments(name, fn, self.needs)
        self.template = template
        self._enqueuer = enqueuer
        self._kind: Any = None
        self.__doc__ = fn.__doc__
        self.__wrapped__ = fn
        self.__module__ = fn.__module__

    def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> Handle[R]:
        """Ask for a job; returns once it is stored durably.

        Raises BadArguments or TooLarge before anything is sent, BrokerUnavailable or BrokerFull when it is not stored.
        """
        job = self._job(args, kwargs)
        if self.template.connection is not None:
            return self._way().enqueue_within(self.template.connection, [[job]], self.kind)[0]
        if self.template.unique is not None:
            return self._way().enqueue_unique(job, self.kind, self.template.unique, self._unique_key(args, kwargs, job))
        return self._way().enqueue(job, self.kind)

    async def aenqueue(self, *args: P.args, **kwargs: P.kwargs) -> Handle[R]:
        """As `enqueue`, without blocking the event loop. Calls made at the same time leave together."""
        self._own_connection("aenqueue")
        job = self._job(args, kwargs)
        if self.template.unique is not None:
            key = self._unique_key(args, kwargs, job)
            return await self._way().aenqueue_unique(job, self.kind, self.template.unique, key)
        return await self._way().aenqueue(job, self.kind)

    def enqueue_many(
        self, calls: Iterable[tuple[Any, ...] | Mapping[str, Any]], *, progress: bool = False
    ) -> list[Handle[R]]:
        """Ask for many jobs: one for each tuple of positional (or mapping of keyword) arguments, stored in batches.

        With `progress`, a bar is drawn on a terminal. A bad item raises BadArguments, which names its place;
        the batches before it are stored. Each batch is stored whole or not at all.
        """
        self._single_id("enqueue_many")
        if self.template.connection is not None:
            return self._way().enqueue_within(self.template.connection, self._batches(calls), self.kind)
        return self._way().enqueue_many(self._batches(calls), self.kind, progress, _length(calls))

    async def aenqueue_many(
        self, calls: Iterable[tuple[Any, ...] | Mapping[str, Any]], *, progress: bool = False
    ) -> list[Handle[R]]:
        """As `enqueue_many`, without blocking the event loop."""
        self._single_id("aenqueue_many")
        self._own_connection("aenqueue_many")
        return await self._way().aenqueue_many(self._batches(calls), self.kind, progress, _length(calls))

    def enqueue_child(self, parent: str, *args: P.args, **kwargs: P.kwargs) -> Handle[R]:
        """As `enqueue`, for a job that another one asks for: it is recorded with that one, and joins its flow."""
        return self._way().enqueue_child(self._job(args, kwargs), self.kind, parent)

    def s(self, *args: P.args, **kwargs: P.kwargs) -> Signature[R]:
        """This call, to be made later or within a flow: `fetch.s(url).then(parse).enqueue()`."""
        return Call(self, args, kwargs)

    def using(self, **options: Unpack[Options]) -> Self:
        """This task with other options for its jobs: `task.using(delay="1m", priority=5).enqueue(…)`."""
        made = object.__new__(type(self))
        made.__dict__.update(self.__dict__)
        made.template = self.template.using(options)
        return made

    @property
    def kind(self) -> Any:
        """What results are converted to: the return annotation where msgspec can make it, else plain data."""
        if self._kind is None:
            self._kind = _return_kind(self.fn)
        return self._kind

    def flow_job(self, args: Sequence[Any], kwargs: Mapping[str, Any], flow: str, after: list[str]) -> Job:
        """One job of a flow. Where an argument is a Hole, results of the jobs `after` fill it."""
        payload, into = self.arguments.encode_with_holes(args, kwargs)
        constraints = self.template.constraints(self.name, self.arguments.bound(args, kwargs)) or Constraints()
        constraints.flow, constraints.after, constraints.into = flow, after, into
        return self.template.job(self.name, payload, constraints)

    def flow_enqueuer(self) -> FlowEnqueuer:
        return self._way()

    def _job(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Job:
        payload = self.arguments.encode(args, kwargs)
        if not self.template.constrained:
            return self.template.job(self.name, payload)
        return self.template.job(
            self.name, payload, self.template.constraints(self.name, self.arguments.bound(args, kwargs))
        )

    def _unique_key(self, args: Sequence[Any], kwargs: Mapping[str, Any], job: Job) -> str:
        assert self.template.unique is not None
        arguments = self.arguments.bound(args, kwargs) if self.template.unique.by is not None else {}
        return self.template.unique.key(self.name, arguments, job.payload)

    def _batches(self, calls: Iterable[tuple[Any, ...] | Mapping[str, Any]]) -> Iterator[list[Job]]:
        if self.template.constrained:
            constrained = self._each(calls, self._job)
            while jobs := list(islice(constrained, BATCH)):
                yield jobs
            return
        payloads = self._each(calls, self.arguments.encode)
        while some := list(islice(payloads, BATCH)):
            yield self.template.jobs(self.name, some)

    def _each(
        self, calls: Iterable[tuple[Any, ...] | Mapping[str, Any]], make: Callable[[Sequence[Any], Mapping[str, Any]], M]
    ) -> Iterator[M]:
        """What `make` makes of each call. Raises BadArguments, which names the call's place."""
        name = self.name
        for place, call in enumerate(calls):
            try:
                if isinstance(call, tuple):
                    yield make(call, {})
                elif isinstance(call, Mapping):
                    yield make((), call)
                else:
                    raise BadArguments(
                        f"task {name!r}: {call!r} is neither a tuple of positional nor a mapping of keyword arguments"
                    )
            except BadArguments as error:
                raise BadArguments(f"item {place}: {error}") from None

    def _way(self) -> Enqueuer:
        if self._enqueuer is None:
            raise ConfigError(f"task {self.name!r} belongs to no app here: it can be called, not enqueued")
        return self._enqueuer

    def _single_id(self, method: str) -> None:
        if self.template.unique is not None:
            raise ConfigError(f"{method}: task {self.name!r} is unique; enqueue its jobs one by one")
        if self.template.id:
            raise ConfigError(f"{method} with id={self.template.id!r}: one id names one job")

    def _own_connection(self, method: str) -> None:
        if self.template.connection is not None:
            raise ConfigError(f"{method} with connection=: a connection is used by one thread, call enqueue there")

    def __repr__(self) -> str:
        return f"<Task {self.name}>"


class SyncTask(Task[P, R]):
    """A task made of a plain function."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the function here and now."""
        return cast(R, self.fn(*args, **kwargs))


class AsyncTask(Task[P, R]):
    """A task made of a coroutine function."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
        """The function's coroutine, to be awaited here."""
        return cast("Coroutine[Any, Any, R]", self.fn(*args, **kwargs))


class Registry:
    """The tasks that are known here, by name."""

    def __init__(self) -> None:
        self.tasks: dict[str, Task[..., Any]] = {}
        self.schedules: list[Schedule] = []
        """Those that stand in the code."""
        self.lifespans: list[Provider] = []
        """What a worker opens before its first job, and closes after its last."""

    def add(self, task: Task[..., Any]) -> None:
        """Raises ConfigError if another function has the name. (The same one may come again: modules are reloaded.)"""
        known = self.tasks.get(task.name)
        if known is not None and (known.fn.__module__, known.fn.__qualname__) != (task.fn.__module__, task.fn.__qualname__):
            raise ConfigError(
                f"two tasks are named {task.name!r}: {known.fn.__module__}.{known.fn.__qualname__} and "
                f"{task.fn.__module__}.{task.fn.__qualname__}. Give one of them another name=."
            )
        self.tasks[task.name] = task

    def get(self, name: str) -> Task[..., Any] | None:
        return self.tasks.get(name)


def settings(
    fn: Callable[..., Any],
    *,
    executor: ExecutorName | None,
    retries: int,
    backoff: Backoff,
    retry_on: type[BaseException] | Iterable[type[BaseException]],
    timeout: Duration | None,
) -> Settings:
    """The checked settings of a task. Raises ConfigError, naming the option."""
    is_async = inspect.iscoroutinefunction(fn)
    if inspect.isasyncgenfunction(fn) or inspect.isgeneratorfunction(fn):
        raise ConfigError(f"{fn.__qualname__} is a generator: a task returns one result")
    chosen: ExecutorName = executor or ("async" if is_async else "thread")
    if chosen not in get_args(ExecutorName):
        raise ConfigError(f"executor: {chosen!r} is not one of {', '.join(get_args(ExecutorName))}")
    if is_async and chosen != "async":
        raise ConfigError(f"{fn.__qualname__} is a coroutine function: it runs with executor='async', not {chosen!r}")
    if not is_async and chosen == "async":
        raise ConfigError(f"{fn.__qualname__} is a plain function: executor='async' needs `async def`")
    if chosen == "process" and "<locals>" in fn.__qualname__:
        raise ConfigError(f"{fn.__qualname__}: a task for child processes must be defined at the top of a module")
    kinds = (retry_on,) if isinstance(retry_on, type) else tuple(retry_on)
    if not all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in kinds):
        raise ConfigError(f"retry_on: {kinds!r} must be exception classes")
    limit = None if timeout is None else seconds(timeout, "timeout")
    if limit == 0:
        raise ConfigError("timeout: 0 leaves no time to run; leave it out for no limit")
    return Settings(chosen, policy(retries, backoff), kinds, limit)


def _length(calls: object) -> int | None:
    return len(calls) if isinstance(calls, typing.Sized) else None


def _return_kind(fn: Callable[..., Any]) -> Any:
    try:
        kind = typing.get_type_hints(fn).get("return", Any)
    except Exception:  # an annotation that exists for the type checker only
        return Any
    return decodable(kind)
