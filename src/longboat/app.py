"""Longboat: an app, the first thing that a program makes."""

from __future__ import annotations

import contextlib
import importlib
import os
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, Self, TypedDict, TypeVar, Unpack, overload

from longboat.client.client import Client
from longboat.client.kept import Kept
from longboat.client.outbox_table import Connect, OutboxTable
from longboat.client.relay import Relay
from longboat.client.spool import Spool, spool_url
from longboat.connect import DEFAULT_URL, connect, settled
from longboat.contract.broker import Broker
from longboat.core.clock import Duration
from longboat.core.urls import Url, shown, where
from longboat.errors import ConfigError
from longboat.observe.events import Bus
from longboat.observe.stream import EventStream
from longboat.operate import scheduler
from longboat.tasks.define import TaskOptions, check_found, check_importable, define, functions_of, name_of, own_options
from longboat.tasks.depends import Provider
from longboat.tasks.elsewhere import APP, APP_OPTIONS, instead, refuses
from longboat.tasks.flow import Flow
from longboat.tasks.handle import Handle, checked_id
from longboat.tasks.middleware import Middleware, wrapped
from longboat.tasks.named import Named
from longboat.tasks.registry import Registry
from longboat.tasks.schedule import Schedule, ScheduleOptions, checked
from longboat.tasks.task import AsyncTask, SyncTask, Task
from longboat.tasks.template import checked_name

if TYPE_CHECKING:
    from longboat.worker.worker import Worker

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
Prov = TypeVar("Prov", bound=Provider)

PICKLES = "longboat.pools.signed"
"""The module whose function runs signed pickles."""


class Decorator(Protocol):
    """What `@app.task(…)` with arguments gives."""

    @overload
    def __call__(self, fn: Callable[P, Coroutine[Any, Any, R]], /) -> AsyncTask[P, R]: ...  # type: ignore[overload-overlap]  # the first that fits is meant
    @overload
    def __call__(self, fn: Callable[P, R], /) -> SyncTask[P, R]: ...


class WorkerChoices(TypedDict, total=False):
    """What `app.worker` may be given."""

    queues: Sequence[str]
    """Those named first are served first. Default: every queue (on RabbitMQ, which tells nobody what queues there are, those
    that the tasks and schedules of this app name, and "default")."""
    concurrency: int
    """How many coroutines run at a time. Default: 100."""
    threads: int | None
    """How many plain functions run at a time. Default: the number of processors and 4, at most 32."""
    processes: int | None
    """How many child processes there are, for tasks with executor="process". Default: one for each processor."""
    lease: Duration
    """How long after its last heartbeat a worker counts as dead. Default: 15 s."""
    grace: Duration
    """How long running jobs may finish at the end. Default: 25 s."""
    burst: bool
    """End when there is nothing left to do. Default: False."""
    health_port: int | None
    """Serve /livez, /readyz and /metrics on this port of the loopback; 0: any free port, see `worker.health.url`. Default:
    None, not at all."""


class Longboat:
    """An app: its tasks, and the broker that its jobs go through.

    The variable LONGBOAT_URL names the broker (see `longboat.connect`), else `url` does, else it is the file `longboat.db`
    in the working directory. Setting `app.url` before the app is used beats both. Nothing is opened before it is needed.
    Use an app from any thread, from any event loop, and on both sides of a fork.

    `include`: the modules in which more of its tasks are defined, such as ["shop.mail", "shop.reports"]. Workers, their
    child processes and the command line import them; the app's own module need not.

    `spool`: a file that keeps jobs while the broker is away, such as "sqlite:///spool.db?limit=10000&deadline=1h"; whoever
    opens it delivers them afterwards. `outbox`: a function that opens a DB-API connection to a database of your own, such as
    SQLAlchemy's `engine.raw_connection`: `using(session=…)` stores jobs in its table `longboat_outbox`, within your
    transaction, and the workers of this app bring them to the broker.

    `pickle`: its workers run what `Executor(app, pickle=True)` and `Pool` send, if it is signed with the key in the variable
    LONGBOAT_PICKLE_KEY. Whoever has that key can run any code there.
    """

    @refuses(APP_OPTIONS)
    def __init__(
        self,
        url: str | None = None,
        *,
        include: Sequence[str] = (),
        spool: str | None = None,
        outbox: Connect | None = None,
        pickle: bool = False,
    ) -> None:
        self._spool = spool_url(spool)
        self._outbox = outbox
        self.url = os.environ.get("LONGBOAT_URL") or url or DEFAULT_URL
        self.registry = Registry(self._function)
        self.registry.modules.extend([include] if isinstance(include, str) else include)
        self.pickle = pickle
        """Whether its workers run signed pickles."""
        self.registry.modules.extend([PICKLES] if pickle else [])
        self.bus = Bus()
        """What happens in workers inside this process: `app.bus.listen(…)`."""
        self._middlewares: list[Middleware] = []
        self._client: Client | None = None
        self._connected: Callable[[], Client] = self._new_client
        self._pid = 0
        self._lock = threading.RLock()
        os.register_at_fork(after_in_child=self._after_fork)

    @overload
    def task(self, fn: Callable[P, Coroutine[Any, Any, R]], /) -> AsyncTask[P, R]: ...  # type: ignore[overload-overlap]  # the first that fits is meant
    @overload
    def task(self, fn: Callable[P, R], /) -> SyncTask[P, R]: ...
    @overload
    def task(self, fn: None = None, /, **options: Unpack[TaskOptions]) -> Decorator: ...
    def task(self, fn: Callable[..., Any] | None = None, /, **options: Unpack[TaskOptions]) -> Any:
        """Make a function a task, with or without arguments: `@app.task` or `@app.task(retries=3)`.

        The options are `name`, `executor`, `queue`, `priority`, `retries`, `backoff`, `retry_on`, `timeout`, `expires`,
        `keep_result`, `limit`, `fair_by` and `unique`: see `longboat.tasks.define.TaskOptions` for each of them. Raises
        ConfigError for options that make no sense.
        """

        def make(fn: Callable[..., Any]) -> Task[..., Any]:
            if not options.get("name") and not self.url.startswith("memory://"):
                check_found(fn)
            made = self._function(fn, options)
            self.registry.add(made)
            return made

        return make if fn is None else make(fn)

    def _function(self, fn: Callable[..., Any], options: TaskOptions | None = None) -> Task[..., Any]:
        made = define(fn, own_options(fn) if options is None else options, self._sender)
        made.body = self._wrapped(made)
        return made

    def add_middleware(self, middleware: Middleware) -> None:
        """Wrap the making and the running of this app's jobs in it. The one that is added first is outermost.

        Add it where the app is defined, so that workers and their child processes have it too.
        """
        self._middlewares.append(middleware)
        for task in self.registry.tasks.values():
            task.body = self._wrapped(task)

    def _wrapped(self, task: Task[..., Any]) -> Callable[..., Any]:
        return wrapped(task.fn, self._middlewares, is_async=task.settings.executor == "async")

    def lifespan(self, provider: Prov) -> Prov:
        """A generator, or async generator, that each worker runs: up to its yield before the first job, the rest after the
        last one. Tasks get what it yields by `Depends(provider)`. Child processes open what they need themselves.
        """
        self.registry.lifespans.append(provider)
        return provider

    def schedule(self, rule: str, **options: Unpack[ScheduleOptions]) -> Callable[[T], T]:
        """Enqueue the task below again and again: `@app.schedule("*/5 * * * *", tz="Europe/Berlin")` or `every("30s")`.

        The rule is a cron expression of five fields (or six, with seconds first), or `longboat.every`. Any number of workers
        may run: each tick makes one job. The options are `args`, `kwargs`, `name`, `tz`, `missed` and `overlap`: see
        `longboat.tasks.schedule.ScheduleOptions`. Raises ConfigError or BadArguments.
        """

        def declare(task: T) -> T:
            self.registry.add_schedule(scheduled(task, rule, options, declared=True))
            return task

        return declare

    def add_schedule(self, task: Task[..., Any], rule: str, **options: Unpack[ScheduleOptions]) -> bool:
        """As `schedule`, at run time: any worker fires it. False if one has its name. Raises Unsupported if none could."""
        return scheduler.add(self.broker, scheduled(task, rule, options, declared=False))

    def load(self) -> None:
        """Import the modules that the app includes. Workers and the command line do. Raises what importing raises."""
        for name in self.registry.modules:
            module = importlib.import_module(name)
            self.registry.functions.update((name_of(fn), fn) for fn in functions_of(module))

    def named(self, name: str) -> Task[..., Any]:
        """A task by name, also one whose code is not here: `app.named("mail.send").using(delay="1m").enqueue(to="a@b.c")`.

        The jobs of one that is not known here go by what workers last told of it: its queue, priority, retention, limits
        and parameters. Until one has, they go by default, and a warning is logged. The types of their arguments are checked
        by the worker only.
        """
        return self.registry.get(name) or Named(checked_name(name, "task name"), self._sender)

    @overload
    def enqueue(self, fn: Callable[P, Coroutine[Any, Any, R]], /, *args: P.args, **kwargs: P.kwargs) -> Handle[R]: ...
    @overload
    def enqueue(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Handle[R]: ...
    def enqueue(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Handle[Any]:
        """Enqueue a call of a function that is no task: `app.enqueue(send_mail, "a@b.c")`.

        It must be defined at the top of a module. Workers run it if they import that module for this app: the app's own, or
        one of `include`. It has a task's default options. Raises ConfigError for what other processes cannot find, and what
        a task's `enqueue` raises.
        """
        return self.task_of(fn).enqueue(*args, **kwargs)

    @overload
    async def aenqueue(self, fn: Callable[P, Coroutine[Any, Any, R]], /, *args: P.args, **kwargs: P.kwargs) -> Handle[R]: ...
    @overload
    async def aenqueue(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Handle[R]: ...
    async def aenqueue(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Handle[Any]:
        """As `enqueue`, without blocking the event loop."""
        return await self.task_of(fn).aenqueue(*args, **kwargs)

    def task_of(self, fn: Any) -> Task[..., Any]:
        """The task that enqueues this function. Raises ConfigError."""
        if isinstance(fn, Task):
            return fn
        check_importable(fn)
        if not self.url.startswith("memory://"):
            check_found(fn)
        name = name_of(fn)
        found = self.registry.tasks.get(name) or self.registry.made.get(name)
        if found is None:
            self.registry.functions[name] = fn  # a worker in this process may run it
            found = self.registry.made[name] = self._function(fn)
        return found

    def send(self, name: str, /, *args: Any, **kwargs: Any) -> Handle[Any]:
        """Enqueue a task by name, also one whose code is not here."""
        return self.named(name).enqueue(*args, **kwargs)

    async def asend(self, name: str, /, *args: Any, **kwargs: Any) -> Handle[Any]:
        """As `send`, without blocking the event loop."""
        return await self.named(name).aenqueue(*args, **kwargs)

    def job(self, id: str) -> Handle[Any]:
        """A handle on a job by its id, whoever enqueued it. It looks nothing up before you ask it."""
        return Handle(self.client, checked_id(id), "")

    def flow(self, id: str) -> Flow[Any]:
        """A flow by its id, whoever enqueued it. Raises JobNotFound."""
        return self.client.flows.find(id)

    def worker(self, **choices: Unpack[WorkerChoices]) -> Worker:
        """A worker inside this program: enter it by `async with app.worker():` (on this event loop) or `with`.

        See `longboat.app.WorkerChoices` for the choices. Leaving the block raises WorkerFailed if a part of it failed.
        On `manager://` this call blocks while it asks the server what it can do, and may raise BrokerUnavailable.
        """
        from longboat.worker.options import options
        from longboat.worker.worker import Worker

        self.load()
        enqueued = self.client.enqueue_events.counts
        worker = Worker(self.broker, self.registry, options(**choices), self.bus, address=shown(self.url), enqueued=enqueued)
        worker.relay(self.relay())
        return worker

    def watch(self, changed: Callable[[], object]) -> None:
        """For frameworks: what `--reload` watches beside the code, which is nothing here. `changed` restarts the worker, and
        may be called from any thread."""

    @property
    def url(self) -> str:
        """The broker's URL. A SQLite file is where it was when this was set, whatever the working directory becomes."""
        return self._url

    @url.setter
    def url(self, url: str) -> None:
        if not isinstance(url, str):
            raise ConfigError(
                f"the broker's URL is a text such as 'redis://localhost:6379', not {url!r}. (For a Flask app: from "
                "longboat.contrib.flask import Longboat.)"
            )
        self._url = Url(settled(url))

    @property
    def spool(self) -> Url | None:
        """The URL of the spool, if there is one."""
        return self._spool

    @property
    def outbox(self) -> Connect | None:
        """Opens a connection to the database of the outbox, if there is one."""
        return self._outbox

    @property
    def client(self) -> Client:
        """This process's connection. It is made at the first use."""
        client = self._client
        if client is not None and self._pid == os.getpid():
            return client
        with self._lock:
            if self._client is None or self._pid != os.getpid():
                self._client, self._pid = self._connected(), os.getpid()
            return self._client

    def _new_client(self) -> Client:
        broker = connect(self.url)
        spool = None if self.spool is None else Spool(self.spool, broker)
        return Client(broker, self._middlewares, Kept(spool, self.outbox), where(self.url))

    def relay(self) -> Relay | None:
        """What brings jobs from the outbox to the broker; None without an outbox. Each worker has one."""
        return None if self.outbox is None else Relay(self.broker, OutboxTable(self.outbox))

    def _sender(self) -> Client:
        return self.client

    @contextlib.contextmanager
    def lent(self, connected: Callable[[Sequence[Middleware]], Client]) -> Iterator[None]:
        """Have the app's jobs go by another connection meanwhile, made of its middlewares at the first use. For tests.

        Its own is left as it is, and used again afterwards.
        """
        with self._lock:
            before = vars(self).copy()  # of a framework's app too, which may keep its address elsewhere
            self.url = "memory://"
            self._client, self._connected = None, lambda: connected(self._middlewares)
        try:
            yield
        finally:
            self.close()
            with self._lock:
                vars(self).update(before)

    @property
    def broker(self) -> Broker:
        """The broker itself, as the contract has it; for tools. It is opened at the first use."""
        return self.client.broker

    def events(self) -> EventStream:
        """What happens from now on in all processes: `for event in app.events():` or `async for`. See `longboat.events`.

        Close it when you have heard enough, or use it in a `with`: processes publish events only while somebody listens.
        """
        return EventStream.of(self.broker)

    def close(self) -> None:
        """Close the connection; the next use opens another. Leave workers inside this program first.

        Calls that are under way in other threads raise AppClosed.
        """
        with self._lock:
            client, self._client = self._client, None
        if client is not None and self._pid == os.getpid():
            client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """As `close`, without blocking the event loop."""
        import asyncio

        await asyncio.to_thread(self.close)

    def __repr__(self) -> str:
        return f"<Longboat {shown(self.url)}>"

    def _after_fork(self) -> None:
        self.bus.after_fork()
        self._lock = threading.RLock()  # the parent's may be held by a thread that is not here


instead(Longboat, APP)


def scheduled(task: object, rule: str, options: ScheduleOptions, *, declared: bool) -> Schedule:
    """The checked schedule of a task. Raises ConfigError or BadArguments."""
    if not isinstance(task, Task):
        raise ConfigError("@app.schedule stands above @app.task: it needs a task")
    given: dict[str, Any] = {**options}
    job, key = task.new(given.pop("args", ()), given.pop("kwargs", None) or {})
    name = given.pop("name", None) or task.name
    made = Schedule(name=name, rule=rule, task=task.name, payload=job.payload, declared=declared, **given)
    made.queue, made.priority, made.expires, made.keep = job.queue, job.priority, job.expires, job.keep
    made.headers = job.headers
    made.constraints, made.unique = job.constraints, key
    return checked(made)
