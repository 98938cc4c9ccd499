"""Task: a registered function, and how its jobs are enqueued."""

from __future__ import annotations

import typing
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import (
    Any,
    Generic,
    Literal,
    ParamSpec,
    Protocol,
    Self,
    TypeVar,
    TypeVarTuple,
    Unpack,
    cast,
    overload,
)

import msgspec

from longboat.core.constraints import Constraints, JobLimit
from longboat.core.job import Job
from longboat.core.portions import portions
from longboat.core.retry import RetryPolicy, policy
from longboat.errors import BadArguments, ConfigError
from longboat.tasks.arguments import Arguments
from longboat.tasks.depends import needs_of
from longboat.tasks.elsewhere import instead
from longboat.tasks.handle import Handle, checked_id
from longboat.tasks.keys import ordered
from longboat.tasks.kinds import Kind, kind_of_result, tell_unchecked
from longboat.tasks.limits import UniqueKey
from longboat.tasks.outgoing import Outgoing, Sender
from longboat.tasks.signature import Call, Signature
from longboat.tasks.template import NO_LIMIT, RETRIES, TIMEOUT, Options, Template, time_limit

P = ParamSpec("P")
R = TypeVar("R")
M = TypeVar("M")
A = TypeVar("A")
B = TypeVar("B")
Ts = TypeVarTuple("Ts")


class Takes(Protocol[*Ts, R]):
    """A task as type checkers see it: what its jobs take by position, and their result."""

    def enqueue(self, *args: *Ts) -> Handle[R]: ...


ELSEWHERE = {
    "delay": "enqueue(…)",
    "apply_async": "using(…).enqueue(…)",
    "send": "enqueue(…)",
    "send_with_options": "using(…).enqueue(…)",
    "kiq": "aenqueue(…)",
    "defer": "enqueue(…)",
    "signature": "s(…)",
    "si": "s(…)",
    "then": "s(…).then(…)",
    "apply": "enqueue(…), or call the task: it runs here",
    "retry": "retries= of @app.task(…), and raise an exception in the function",
    "AsyncResult": "job(…)",
}
"""What other queues call a method -> ours."""

ExecutorName = Literal["async", "thread", "process"]

BATCH = 1000
"""Jobs that `enqueue_many` stores together, at most: see core/portions.py."""


class Settings(msgspec.Struct, frozen=True):
    """How a task's jobs are run, read by workers."""

    executor: ExecutorName
    policy: RetryPolicy
    retry_on: tuple[type[BaseException], ...]
    timeout: float | None
    """Seconds that one attempt may take."""


class Asked(Protocol):
    """A job, or an attempt at it."""

    id: str

    @property
    def headers(self) -> Mapping[str, str]: ...


def settings_of(job: Asked, settings: Settings) -> Settings:
    """The task's settings, changed by what the call that made the job said. Raises ConfigError for what cannot be meant."""
    retries, timeout = job.headers.get(RETRIES), job.headers.get(TIMEOUT)
    try:
        if retries is not None:
            pauses = msgspec.structs.replace(settings.policy, retries=policy(int(retries), 0.0).retries)
            settings = msgspec.structs.replace(settings, policy=pauses)
        if timeout is not None:
            limit = None if timeout == NO_LIMIT else time_limit(float(timeout))
            settings = msgspec.structs.replace(settings, timeout=limit)
    except ValueError as error:
        raise ConfigError(f"job {job.id} has headers that say retries={retries!r}, timeout={timeout!r}: {error}") from None
    return settings


class Task(Generic[P, R]):
    """A registered function. Calling it runs it here and now; `enqueue` asks for a job.

    Made by `app.task`; safe to use from any thread, and from any coroutine by the methods that begin with "a".
    """

    def __init__(
        self,
        fn: Callable[..., Any],
        name: str,
        settings: Settings,
        template: Template,
        sender: Callable[[], Sender] | None,
    ) -> None:
        """`sender` gives the client of the process that asks; None: this task can be called, not enqueued."""
        self.fn = fn
        """The function itself."""
        self.body = fn
        """What workers run: the function, within the app's middlewares."""
        self.name = name
        """The task's name, in jobs and on pages."""
        self.settings = settings
        self.needs = needs_of(fn, is_async=settings.executor == "async")
        """By parameter: what the worker fills it with."""
        self.arguments = Arguments(name, fn, self.needs)
        self.template = template
        self._sender = sender
        if (kind := kind_of_result(fn)) is not None:
            self.result = kind
        self.__doc__ = fn.__doc__
        self.__wrapped__ = fn
        self.__module__ = fn.__module__

    def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> Handle[R]:
        """Enqueue a job; returns once it is stored durably.

        Raises BadArguments or TooLarge before anything is sent, BrokerUnavailable or BrokerFull when it is not stored. Only
        a BrokerUnavailable whose `unknown` is True leaves open whether it is.
        """
        return self.sender().send(self._outgoing(args, kwargs))[0]

    async def aenqueue(self, *args: P.args, **kwargs: P.kwargs) -> Handle[R]:
        """As `enqueue`, without blocking the event loop. Calls made at the same time leave together."""
        return (await self.sender().asend(self._outgoing(args, kwargs)))[0]

    @overload  # the parameters after these may have defaults
    def enqueue_many(self: Takes[A, R], calls: Iterable[tuple[A]], *, progress: bool = ...) -> list[Handle[R]]: ...
    @overload
    def enqueue_many(self: Takes[A, B, R], calls: Iterable[tuple[A, B]], *, progress: bool = ...) -> list[Handle[R]]: ...
    @overload  # mypy takes *Ts for one of any kind
    def enqueue_many(  # type: ignore[overload-cannot-match]  # the first that fits is meant
        self: Takes[*Ts, R], calls: Iterable[tuple[*Ts]], *, progress: bool = ...
    ) -> list[Handle[R]]: ...
    @overload
    def enqueue_many(self, calls: Iterable[Mapping[str, Any]], *, progress: bool = ...) -> list[Handle[R]]: ...
    def enqueue_many(self, calls: Iterable[Any], *, progress: bool = False) -> list[Handle[Any]]:
        """Enqueue many jobs: one for each tuple of positional (or mapping of keyword) arguments, stored in batches.

        With `progress`, a bar is drawn on a terminal. A bad item raises BadArguments, which names its place;
        the batches before it are stored. Each batch, of up to 1,000 jobs and 2 MB, is stored whole or not at all.
        """
        self._single_id("enqueue_many")
        return self.sender().send(self._outgoing_many(calls, progress))

    @overload  # as with enqueue_many
    async def aenqueue_many(self: Takes[A, R], calls: Iterable[tuple[A]], *, progress: bool = ...) -> list[Handle[R]]: ...
    @overload
    async def aenqueue_many(
        self: Takes[A, B, R], calls: Iterable[tuple[A, B]], *, progress: bool = ...
    ) -> list[Handle[R]]: ...
    @overload
    async def aenqueue_many(  # type: ignore[overload-cannot-match]  # the first that fits is meant
        self: Takes[*Ts, R], calls: Iterable[tuple[*Ts]], *, progress: bool = ...
    ) -> list[Handle[R]]: ...
    @overload
    async def aenqueue_many(self, calls: Iterable[Mapping[str, Any]], *, progress: bool = ...) -> list[Handle[R]]: ...
    async def aenqueue_many(self, calls: Iterable[Any], *, progress: bool = False) -> list[Handle[Any]]:
        """As `enqueue_many`, without blocking the event loop."""
        self._single_id("aenqueue_many")
        return await self.sender().asend(self._outgoing_many(calls, progress))

    def map(self: Takes[A, R], items: Iterable[A]) -> Iterator[R]:
        """Enqueue a job for each item, at once; then give their results in this order, as they come: `for x in f.map(xs):`.

        Raises what `enqueue_many` and `result` raise. Blocks the thread: in a coroutine, `await gather(*handles)`.
        """
        handles = cast("Task[[A], R]", self).enqueue_many([(item,) for item in items])
        return (handle.result() for handle in handles)

    def job(self, id: str) -> Handle[R]:
        """A handle on a job of this task by its id, whoever enqueued it. It looks nothing up before you ask it."""
        return Handle(self.sender(), checked_id(id), self.name, self.kind)

    def enqueue_child(self, parent: str, *args: P.args, **kwargs: P.kwargs) -> Handle[R]:
        """As `enqueue`, for a job that the job `parent` asks for: it is recorded with that one, and joins its flow."""
        outgoing = self._outgoing(args, kwargs)
        outgoing.parent = parent
        return self.sender().send(outgoing)[0]

    def s(self, *args: P.args, **kwargs: P.kwargs) -> Signature[R]:
        """This call as a Signature, to enqueue later or within a flow: `fetch.s(url).then(parse).enqueue()`."""
        return Call(self, args, kwargs)

    def present(self) -> Task[..., Any]:
        """The task with its settings; for one whose code is not here, by what workers have told of it."""
        return self

    def using(self, **options: Unpack[Options]) -> Self:
        """This task with other options for its jobs: `task.using(delay="1m", priority=5).enqueue(…)`.

        See `longboat.tasks.template.Options` for each of them. Raises ConfigError for one that makes no sense.
        """
        made = object.__new__(type(self))
        made.__dict__.update(self.__dict__)
        made.template = self.template.using(options)
        return made

    @property
    def kind(self) -> Any:
        """What results are converted to."""
        return self.result.wire

    @cached_property
    def result(self) -> Kind:
        """How results travel: as the return annotation says, or as plain data. Its class may be defined below the task."""
        found = kind_of_result(self.fn)
        if found is None:
            tell_unchecked(self.name, "the result")
        return found or Kind()

    def rule(self, job: Job) -> UniqueKey | None:
        """Give a new job of this task its limits and fairness key; returns its unique key, if its task has such a rule.

        Every job goes through here, whoever makes it: the keys are made of its payload. Raises BadArguments.
        """
        template = self.template
        if not template.ruled:
            return None
        later = job.constraints.into if job.constraints else ()
        return template.rule(job, self.arguments.known(job.payload, later), later)

    def limits_of(self, job: Job) -> list[JobLimit]:
        """The limits that `rule` could not make, now that the parents' results are in the payload. Raises BadArguments."""
        return self.template.limits_of(self.name, self.arguments.known(job.payload))

    def new(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Job, UniqueKey | None]:
        """A job of this call. Raises BadArguments."""
        if not self.template.ruled:
            return self.template.job(self.name, self.arguments.encode(args, kwargs)), None
        job = self.template.job(self.name, self.arguments.encode(ordered(args), ordered(kwargs)))
        return job, self.rule(job)

    def flow_job(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], flow: str, after: list[str]
    ) -> tuple[Job, UniqueKey | None]:
        """One job of a flow. The results of the jobs `after` fill the arguments that are a Hole."""
        if after and self.template.run_at is not None:
            raise ConfigError(
                f"task {self.name!r}: run_at cannot be kept by a job after others, whose time counts from their end"
            )
        if self.template.ruled:
            args, kwargs = ordered(args), ordered(kwargs)
        payload, into = self.arguments.encode_with_holes(args, kwargs)
        job = self.template.job(self.name, payload)
        job.constraints = Constraints(flow, after, into=into)
        return job, self.rule(job)

    def sender(self) -> Sender:
        """The way out, for this process. Raises ConfigError for a task that belongs to no app."""
        if self._sender is None:
            raise ConfigError(f"task {self.name!r} belongs to no app here: it can be called, not enqueued")
        return self._sender()

    def _outgoing(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Outgoing:
        job, key = self.new(args, kwargs)
        outgoing = Outgoing([job], self.kind, connection=self.template.connection)
        if key is not None:
            outgoing.keys[job.id] = key
        return outgoing

    def _outgoing_many(self, calls: Iterable[tuple[Any, ...] | Mapping[str, Any]], progress: bool) -> Outgoing:
        total = len(calls) if isinstance(calls, typing.Sized) else None
        outgoing = Outgoing([], self.kind, connection=self.template.connection, progress=progress, total=total)
        outgoing.batches = self._batches(calls, outgoing.keys)
        return outgoing

    def _batches(
        self, calls: Iterable[tuple[Any, ...] | Mapping[str, Any]], keys: dict[str, UniqueKey]
    ) -> Iterator[list[Job]]:
        if self.template.ruled:
            for some in portions(self._each(calls, self.new), BATCH, lambda made: len(made[0].payload)):
                keys.update({job.id: key for job, key in some if key is not None})
                yield [job for job, _ in some]
            return
        for batch in portions(self._each(calls, self.arguments.encode), BATCH, len):
            yield self.template.jobs(self.name, batch)

    def _each(
        self, calls: Iterable[tuple[Any, ...] | Mapping[str, Any]], make: Callable[[Sequence[Any], Mapping[str, Any]], M]
    ) -> Iterator[M]:
        """What `make` makes of each call. Raises BadArguments, naming the call's place."""
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

    def _single_id(self, method: str) -> None:
        if self.template.id:
            raise ConfigError(f"{method} with id={self.template.id!r}: one id names one job")

    def __repr__(self) -> str:
        return f"<Task {self.name}>"


instead(Task, ELSEWHERE)


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
