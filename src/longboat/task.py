"""Task: a registered function, and how its jobs are asked for. Registry: the tasks of an app by name."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Generic, Literal, ParamSpec, Protocol, Self, TypedDict, TypeVar, Unpack, cast, get_args

import msgspec

from longboat.arguments import Arguments, decodable
from longboat.clock import SYSTEM, Duration, seconds
from longboat.errors import BadArguments, ConfigError
from longboat.handle import Handle
from longboat.job import DEFAULT_KEEP, DEFAULT_QUEUE, MESSAGE_VERSION, Job, new_id, new_ids
from longboat.retry import Backoff, RetryPolicy, policy

P = ParamSpec("P")
R = TypeVar("R")

ExecutorName = Literal["async", "thread", "process"]

BATCH = 1000
"""Jobs that enqueue_many stores together."""

LONGEST_ID = 200
LONGEST_NAME = 200


class Settings(msgspec.Struct, frozen=True):
    """How a task's jobs are run, read by workers."""

    executor: ExecutorName
    policy: RetryPolicy
    retry_on: tuple[type[BaseException], ...]
    timeout: float | None
    """Seconds that one attempt may take."""


class Options(TypedDict, total=False):
    """What `using` may change for single jobs."""

    queue: str
    priority: int
    delay: Duration
    run_at: datetime
    """Start no sooner than this; needs a time zone. Instead of `delay`."""
    id: str
    """An id of your own: a second job of the same id is not made, also for a day after the first one's end."""
    expires: Duration
    keep_result: Duration
    connection: object
    """Enqueue within the transaction that this connection is in (PostgreSQL): psycopg, SQLAlchemy or Django."""


class Door(Protocol):
    """The way out of a task: the app's client."""

    def enqueue(self, job: Job, kind: Any) -> Handle[Any]: ...
    def aenqueue(self, job: Job, kind: Any) -> Coroutine[Any, Any, Handle[Any]]: ...
    def enqueue_many(
        self, batches: Iterable[list[Job]], kind: Any, progress: bool, total: int | None
    ) -> list[Handle[Any]]: ...
    async def aenqueue_many(
        self, batches: Iterable[list[Job]], kind: Any, progress: bool, total: int | None
    ) -> list[Handle[Any]]: ...
    def enqueue_within(self, connection: object, batches: Iterable[list[Job]], kind: Any) -> list[Handle[Any]]: ...


class Template(msgspec.Struct):
    """The parts of a task's jobs that do not differ from call to call."""

    queue: str = DEFAULT_QUEUE
    priority: int = 0
    delay: float = 0.0
    run_at: float | None = None
    expires: float | None = None
    keep: float = DEFAULT_KEEP
    id: str = ""
    connection: object = None
    """Whose transaction the jobs are stored in; None: each call is a transaction of its own."""

    def job(self, task: str, payload: bytes) -> Job:
        now = SYSTEM.now()
        delay = self.delay if self.run_at is None else max(0.0, self.run_at - now)
        name = self.id or new_id()
        return Job(MESSAGE_VERSION, name, task, payload, self.queue, self.priority, delay, self.expires, self.keep, now)

    def jobs(self, task: str, payloads: Sequence[bytes]) -> list[Job]:
        """Many, with generated ids."""
        now = SYSTEM.now()
        delay = self.delay if self.run_at is None else max(0.0, self.run_at - now)
        queue, priority, expires, keep = self.queue, self.priority, self.expires, self.keep
        return [
            Job(MESSAGE_VERSION, name, task, payload, queue, priority, delay, expires, keep, now)
            for name, payload in zip(new_ids(len(payloads)), payloads, strict=True)
        ]

    def using(self, options: Options) -> Template:
        """A copy with these changed. Raises ConfigError, naming the option."""
        made = msgspec.structs.replace(self)
        unknown = options.keys() - Options.__annotations__.keys()
        if unknown:
            raise ConfigError(f"unknown option {min(unknown)!r}; there are {', '.join(sorted(Options.__annotations__))}")
        if "delay" in options and "run_at" in options:
            raise ConfigError("give delay or run_at, not both")
        if "queue" in options:
            made.queue = _queue(options["queue"])
        if "priority" in options:
            made.priority = _priority(options["priority"])
        if "delay" in options:
            made.delay, made.run_at = seconds(options["delay"], "delay"), None
        if "run_at" in options:
            made.delay, made.run_at = 0.0, _moment(options["run_at"])
        if "expires" in options:
            made.expires = seconds(options["expires"], "expires")
        if "keep_result" in options:
            made.keep = seconds(options["keep_result"], "keep_result")
        if "id" in options:
            made.id = _id(options["id"])
        if "connection" in options:
            made.connection = options["connection"]
        return made


class Task(Generic[P, R]):
    """A registered function. Calling it runs it here and now; `enqueue` asks for a job.

    Made by `app.task`; safe to use from any thread, and from any coroutine by the methods that begin with "a".
    """

    def __init__(self, fn: Callable[..., Any], name: str, settings: Settings, template: Template, door: Door | None) -> None:
        self.fn = fn
        self.name = name
        self.settings = settings
        self.arguments = Arguments(name, fn)
        self.template = template
        self._door = door
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
        return self._way().enqueue(job, self.kind)

    async def aenqueue(self, *args: P.args, **kwargs: P.kwargs) -> Handle[R]:
        """As `enqueue`, without blocking the event loop. Calls made at the same time leave together."""
        self._own_connection("aenqueue")
        return await self._way().aenqueue(self._job(args, kwargs), self.kind)

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

    def _job(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Job:
        return self.template.job(self.name, self.arguments.encode(args, kwargs))

    def _batches(self, calls: Iterable[tuple[Any, ...] | Mapping[str, Any]]) -> Iterator[list[Job]]:
        payloads = self._payloads(calls)
        while some := list(islice(payloads, BATCH)):
            yield self.template.jobs(self.name, some)

    def _payloads(self, calls: Iterable[tuple[Any, ...] | Mapping[str, Any]]) -> Iterator[bytes]:
        encode, name = self.arguments.encode, self.name
        for place, call in enumerate(calls):
            try:
                if isinstance(call, tuple):
                    yield encode(call, {})
                elif isinstance(call, Mapping):
                    yield encode((), call)
                else:
                    raise BadArguments(
                        f"task {name!r}: {call!r} is neither a tuple of positional nor a mapping of keyword arguments"
                    )
            except BadArguments as error:
                raise BadArguments(f"item {place}: {error}") from None

    def _way(self) -> Door:
        if self._door is None:
            raise ConfigError(f"task {self.name!r} belongs to no app here: it can be called, not enqueued")
        return self._door

    def _single_id(self, method: str) -> None:
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


def template(queue: str, priority: int, expires: Duration | None, keep_result: Duration) -> Template:
    """The checked template of a task's jobs. Raises ConfigError, naming the option."""
    limit = None if expires is None else seconds(expires, "expires")
    return Template(_queue(queue), _priority(priority), expires=limit, keep=seconds(keep_result, "keep_result"))


def checked_name(name: str, what: str) -> str:
    """A task's or queue's name, as brokers, shells and pages can carry it. Raises ConfigError."""
    if not isinstance(name, str) or not 0 < len(name) <= LONGEST_NAME or not name.isprintable() or name != name.strip():
        raise ConfigError(f"{what}: {name!r} must be 1 to {LONGEST_NAME} printable characters, no space at either end")
    if "," in name:
        raise ConfigError(f"{what}: {name!r} may not hold a comma, which separates names on the command line")
    return name


def _queue(name: str) -> str:
    return checked_name(name, "queue")


def _priority(value: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not -(2**31) < value < 2**31:
        raise ConfigError(f"priority: {value!r} must be a whole number of 32 bits; higher runs first")
    return value


def _moment(value: datetime) -> float:
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise ConfigError(f"run_at: {value!r} must be a datetime with a time zone, such as datetime.now(UTC)")
    return value.astimezone(UTC).timestamp()


def _id(value: str) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= LONGEST_ID or not value.isprintable():
        raise ConfigError(f"id: {value!r} must be 1 to {LONGEST_ID} printable characters")
    return value


def _length(calls: object) -> int | None:
    return len(calls) if isinstance(calls, typing.Sized) else None


def _return_kind(fn: Callable[..., Any]) -> Any:
    try:
        kind = typing.get_type_hints(fn).get("return", Any)
    except Exception:  # an annotation that exists for the type checker only
        return Any
    return decodable(kind)
