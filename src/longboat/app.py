"""Longboat: the user's front door."""

from __future__ import annotations

import inspect
import os
import sys
import threading
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, Self, TypeVar, overload

from longboat.client.client import Client
from longboat.client.enqueuer import ClientEnqueuer, Named
from longboat.connect import DEFAULT_URL, connect
from longboat.contract.broker import Broker
from longboat.core.clock import Duration
from longboat.core.job import DEFAULT_KEEP, DEFAULT_QUEUE
from longboat.core.retry import Backoff
from longboat.core.urls import shown
from longboat.errors import ConfigError
from longboat.observe.events import Bus
from longboat.observe.stream import Listening
from longboat.operate import scheduler
from longboat.tasks.depends import Provider
from longboat.tasks.flow import Flow
from longboat.tasks.handle import Handle
from longboat.tasks.limits import Limit, Unique
from longboat.tasks.middleware import Middleware, wrapped
from longboat.tasks.schedule import Missed, Overlap, Schedule, checked
from longboat.tasks.task import (
    AsyncTask,
    ExecutorName,
    Registry,
    SyncTask,
    Task,
    settings,
)
from longboat.tasks.template import checked_name, rules, template

if TYPE_CHECKING:
    from longboat.worker.worker import Worker

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
Prov = TypeVar("Prov", bound=Provider)


class Decorator(Protocol):
    """What `@app.task(…)` with arguments gives."""

    @overload
    def __call__(self, fn: Callable[P, Coroutine[Any, Any, R]], /) -> AsyncTask[P, R]: ...  # type: ignore[overload-overlap]
    @overload
    def __call__(self, fn: Callable[P, R], /) -> SyncTask[P, R]: ...


class Longboat:
    """An app: its tasks, and the broker that its jobs go through.

    `url` names the broker (see `longboat.connect`); without one, the variable LONGBOAT_URL does, else a file
    `longboat.db` in the working directory. Nothing is opened before it is needed; an app may be used from any thread,
    from any event loop, and on both sides of a fork.
    """

    def __init__(self, url: str | None = None) -> None:
        self.url = url or os.environ.get("LONGBOAT_URL") or DEFAULT_URL
        self.registry = Registry()
        self.bus = Bus()
        """What happens in workers inside this process: `app.bus.listen(…)`."""
        self._middlewares: list[Middleware] = []
        self._client: Client | None = None
        self._pid = 0
        self._lock = threading.RLock()
        os.register_at_fork(after_in_child=self._after_fork)

    @overload
    def task(self, fn: Callable[P, Coroutine[Any, Any, R]], /) -> AsyncTask[P, R]: ...  # type: ignore[overload-overlap]
    @overload
    def task(self, fn: Callable[P, R], /) -> SyncTask[P, R]: ...
    @overload
    def task(
        self,
        fn: None = None,
        /,
        *,
        name: str | None = None,
        executor: ExecutorName | None = None,
        queue: str = DEFAULT_QUEUE,
        priority: int = 0,
        retries: int = 0,
        backoff: Backoff = 1.0,
        retry_on: type[BaseException] | Iterable[type[BaseException]] = Exception,
        timeout: Duration | None = None,
        expires: Duration | None = None,
        keep_result: Duration = DEFAULT_KEEP,
        limit: Limit | Sequence[Limit] = (),
        fair_by: str = "",
        unique: Unique | None = None,
    ) -> Decorator: ...
    def task(
        self,
        fn: Callable[..., Any] | None = None,
        /,
        *,
        name: str | None = None,
        executor: ExecutorName | None = None,
        queue: str = DEFAULT_QUEUE,
        priority: int = 0,
        retries: int = 0,
        backoff: Backoff = 1.0,
        retry_on: type[BaseException] | Iterable[type[BaseException]] = Exception,
        timeout: Duration | None = None,
        expires: Duration | None = None,
        keep_result: Duration = DEFAULT_KEEP,
        limit: Limit | Sequence[Limit] = (),
        fair_by: str = "",
        unique: Unique | None = None,
    ) -> Any:
        """Make a function a task, with or without arguments: `@app.task` or `@app.task(retries=3)`.

        `name`: "module.function" unless given. `executor`: "async" for coroutine functions (the only choice), else "thread"
        or "process". `priority`: higher first. `retries`: attempts after the first, for exceptions of `retry_on` and
        time-outs; `backoff`: the first pause, doubled for each further one, or a list of pauses. `timeout`: for one
        attempt. `expires`: a job that has not started by then is cancelled. `keep_result`: how long an ended job stays
        readable. `limit`: how many run, or start in a time, for each value of a key. `fair_by`: ready jobs take turns by
        this key, such as "{tenant}". `unique`: calls that count as one. Raises ConfigError for options that make no sense.
        """

        def make(fn: Callable[..., Any]) -> Task[..., Any]:
            chosen = settings(fn, executor=executor, retries=retries, backoff=backoff, retry_on=retry_on, timeout=timeout)
            kind = AsyncTask if chosen.executor == "async" else SyncTask
            full_name = checked_name(name or f"{_module(fn)}.{fn.__qualname__}", "task name")
            held_to = rules(full_name, inspect.signature(fn).parameters, limit, fair_by, unique)
            jobs = template(queue, priority, expires, keep_result, held_to)
            made: Task[..., Any] = kind(fn, full_name, chosen, jobs, ClientEnqueuer(self._reach, self._middlewares))
            made.body = wrapped(fn, self._middlewares, is_async=chosen.executor == "async")
            self.registry.add(made)
            return made

        return make if fn is None else make(fn)

    def add_middleware(self, middleware: Middleware) -> None:
        """Let it wrap the making and the running of this app's jobs; the one added first is outermost.

        Add it where the app is defined, so that workers and their child processes have it too.
        """
        self._middlewares.append(middleware)
        for task in self.registry.tasks.values():
            task.body = wrapped(task.fn, self._middlewares, is_async=task.settings.executor == "async")

    def lifespan(self, provider: Prov) -> Prov:
        """A generator (or async generator) that each worker runs up to its yield before its first job, and on from there
        after its last. Tasks get what it yields by `Depends(provider)`. Child processes open what they need themselves.
        """
        self.registry.lifespans.append(provider)
        return provider

    def schedule(
        self,
        rule: str,
        *,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
        name: str | None = None,
        tz: str = "UTC",
        missed: Missed = "once",
        overlap: Overlap = "allow",
    ) -> Callable[[T], T]:
        """Enqueue the task below again and again: `@app.schedule("*/5 * * * *", tz="Europe/Berlin")` or `every("30s")`.

        Any number of workers may run: each tick makes one job. `missed`: of ticks at which no worker was there, "skip" all,
        make up for "once" or "all". `overlap`: while the job before has not ended, "allow" another, "skip" this tick, or
        "wait" with the next job until it has. `name`: the task's unless given. Raises ConfigError or BadArguments.
        """

        def declare(task: T) -> T:
            self.registry.schedules.append(
                self.schedule_of(task, rule, args, kwargs or {}, name, tz, missed, overlap, declared=True)
            )
            return task

        return declare

    def add_schedule(
        self,
        task: Task[..., Any],
        rule: str,
        *,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
        name: str | None = None,
        tz: str = "UTC",
        missed: Missed = "once",
        overlap: Overlap = "allow",
    ) -> bool:
        """As `schedule`, at run time: kept in the broker and fired by any worker. False if there is one of that name."""
        made = self.schedule_of(task, rule, args, kwargs or {}, name, tz, missed, overlap, declared=False)
        return scheduler.add(self.broker.kv, made)

    @staticmethod
    def schedule_of(
        task: object,
        rule: str,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        name: str | None,
        tz: str,
        missed: Missed,
        overlap: Overlap,
        *,
        declared: bool,
    ) -> Schedule:
        """The checked schedule of a task. Raises ConfigError or BadArguments."""
        if not isinstance(task, Task):
            raise ConfigError("@app.schedule stands above @app.task: it needs a task")
        job = task.template
        return checked(
            Schedule(
                name=name or task.name,
                rule=rule,
                tz=tz,
                task=task.name,
                payload=task.arguments.encode(args, kwargs),
                queue=job.queue,
                priority=job.priority,
                expires=job.expires,
                keep=job.keep,
                missed=missed,
                overlap=overlap,
                declared=declared,
            )
        )

    def named(self, name: str) -> Task[..., Any]:
        """A task by name, also one whose code is not here: `app.named("mail.send").using(delay="1m").enqueue(to="a@b.c")`.

        The arguments of one that is not known here are checked by the worker only.
        """
        return self.registry.get(name) or Named(
            checked_name(name, "task name"), ClientEnqueuer(self._reach, self._middlewares)
        )

    def send(self, name: str, /, *args: Any, **kwargs: Any) -> Handle[Any]:
        """Enqueue a task by name, also one whose code is not here."""
        return self.named(name).enqueue(*args, **kwargs)

    async def asend(self, name: str, /, *args: Any, **kwargs: Any) -> Handle[Any]:
        """As `send`, without blocking the event loop."""
        return await self.named(name).aenqueue(*args, **kwargs)

    def job(self, id: str) -> Handle[Any]:
        """A handle on a job by its id, whoever enqueued it; nothing is looked up before it is asked."""
        return Handle(self.client, id, "")

    def flow(self, id: str) -> Flow[Any]:
        """A flow by its id, whoever enqueued it. Raises JobNotFound."""
        return self.client.flows.find(id)

    def worker(
        self,
        *,
        queues: Sequence[str] = (),
        concurrency: int = 100,
        threads: int | None = None,
        processes: int | None = None,
        lease: Duration = 15.0,
        grace: Duration = 25.0,
        burst: bool = False,
        health_port: int | None = None,
    ) -> Worker:
        """A worker inside this program, to be entered: `async with app.worker():` (on this event loop) or `with`.

        `queues`: those named first are served first; none: every queue. `concurrency`, `threads` and `processes`: how many
        coroutines, plain functions and child processes run at a time. `grace`: how long running jobs may finish at the end.
        `health_port`: /livez, /readyz and /metrics are told there, on the loopback (0: any free port; `worker.health.url`).
        """
        from longboat.worker.options import options
        from longboat.worker.worker import Worker

        chosen = options(
            queues=queues,
            concurrency=concurrency,
            threads=threads,
            processes=processes,
            lease=lease,
            grace=grace,
            burst=burst,
            health_port=health_port,
        )
        enqueued = self.client.enqueue_events.counts
        return Worker(self.broker, self.registry, chosen, self.bus, address=shown(self.url), enqueued=enqueued)

    @property
    def client(self) -> Client:
        """This process's connection, opened now if it is not."""
        client = self._client
        if client is not None and self._pid == os.getpid():
            return client
        with self._lock:
            if self._client is None or self._pid != os.getpid():
                self._client, self._pid = Client(connect(self.url)), os.getpid()
            return self._client

    def _reach(self) -> Client:
        return self.client

    @property
    def broker(self) -> Broker:
        return self.client.broker

    def events(self) -> Listening:
        """What happens from now on in all processes: `for event in app.events():` or `async for`; see
        longboat.observe.events.

        Close it, or use it in a `with`, when you have heard enough: processes tell only while somebody listens.
        """
        return Listening(self.broker.kv)

    def close(self) -> None:
        """Let go of the connection; the next use opens another. Workers inside this program must be left first."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None and self._pid == os.getpid():
            client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Longboat {shown(self.url)}>"

    def _after_fork(self) -> None:
        self.bus.after_fork()
        self._lock = threading.RLock()  # the parent's may be held by a thread that is not here


def _module(fn: Callable[..., Any]) -> str:
    """The function's module; a program run as a script has its file's name, so that workers that import it agree."""
    if fn.__module__ != "__main__":
        return fn.__module__
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    if spec is not None:
        return str(spec.name).removesuffix(".__main__")
    file = getattr(main, "__file__", None)
    return os.path.splitext(os.path.basename(file))[0] if file else "__main__"
