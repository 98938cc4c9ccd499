"""Worker: wires the services of this folder, and starts and stops them in the right order."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from longboat.broker import Broker, Lease
from longboat.events import Bus, WorkerStarted, WorkerStopped, WorkerStopping
from longboat.executor import Call, Ending, Executor, Reply
from longboat.footprint import resident
from longboat.task import Registry
from longboat.worker.fetcher import Fetcher, Room
from longboat.worker.leases import Leases
from longboat.worker.link import Link
from longboat.worker.options import WorkerOptions
from longboat.worker.quarantine import Quarantine
from longboat.worker.runner import Runner
from longboat.worker.settler import Settler


class Worker:
    """Receives jobs, runs them, settles them.

    Inside a program: `async with app.worker():` runs coroutine tasks on the loop it is entered in, `with app.worker():`
    on a loop in a thread of its own. Leaving the block finishes what runs, within the grace, and hands back the rest.
    """

    def __init__(self, broker: Broker, registry: Registry, options: WorkerOptions, bus: Bus, *, address: str = "") -> None:
        self.name = options.name or f"{socket.gethostname()}:{os.getpid()}"
        self.finished = threading.Event()
        """Set once there is nothing more to do here: `reason` says why. Whoever started the worker then closes it."""
        self.reason = ""
        self.beaten: Callable[[], None] = lambda: None
        """Called at each heartbeat, whether the broker answers or not."""
        self._registry = registry
        self._options = options
        self._bus = bus
        self._address = address
        self._executors: dict[str, Executor] = {}
        self._executors_lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._closing = threading.Lock()
        self._closed = False
        self.link = Link(broker, options, registry.tasks.keys(), self.name, bus)
        self._settler = Settler(self.link, lambda lease: self._quarantine.settled(lease))
        self._quarantine = Quarantine(self._settler.started, lambda call: self._runner.submit(call))
        self._runner = Runner(
            registry,
            self._executor,
            self._settler.add,
            self._quarantine,
            bus,
            name=self.name,
            patience=options.patience,
        )
        self._leases = Leases(self.link, self._runner, bus, self.name, self._after_beat)
        self._fetcher = Fetcher(
            self.link,
            self._runner,
            self._leases,
            Room(self._executors, self._runner.ended),
            self._executor_of,
            pending=self._settler.pending,
            give=self._settler.add,
            settle=self._settler.settle_in_turn,
            finished=self.finish,
            burst=options.burst,
            max_jobs=options.max_jobs,
        )

    # --- start and stop

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin; coroutine tasks run on `loop`. Raises BrokerError if the broker cannot be reached now."""
        self._loop = loop
        for name in {task.settings.executor for task in self._registry.tasks.values()} or {"async"}:
            self._executor(name)
        self.link.consumer()
        self._settler.start()
        self._leases.start()
        self._fetcher.start()
        queues = list(self._options.queues)
        self._bus.emit(WorkerStarted(self.name, self._address, queues, len(self._registry.tasks)))

    def finish(self, reason: str) -> None:
        """Say that this worker has nothing more to do; the first reason stays. Returns at once."""
        if not self.finished.is_set():
            self.reason = reason
            self.finished.set()

    def close(self, grace: float | None = None) -> None:
        """Stop: finish what runs within `grace` seconds (the options' unless given), hand back the rest. Blocks.

        Calling it again from another thread with a shorter grace shortens the wait.
        """
        grace = self._options.grace if grace is None else grace
        if not self._closing.acquire(blocking=False):
            for executor in list(self._executors.values()):
                executor.close(grace)
            with self._closing:
                return
        try:
            if not self._closed:
                self._shut(grace)
                self._closed = True
        finally:
            self._closing.release()

    def _shut(self, grace: float) -> None:
        """Senders end before receivers: fetcher, executors, settler; the heartbeat last, as long jobs are waited for."""
        self.finish("closed")
        if self._runner.calls:
            self._bus.emit(WorkerStopping(self.name, len(self._runner.calls), grace))
        # A broker that is down must not hold up the end: its calls are given up once the grace is over.
        deadline = threading.Timer(grace, self.link.closing.set)
        deadline.daemon = True
        deadline.start()
        self._fetcher.close()
        for call in self._quarantine.empty():
            self._runner.done(call, Reply(Ending.UNSTARTED))
        closers = [threading.Thread(target=one.close, args=(grace,)) for one in list(self._executors.values())]
        for closer in closers:
            closer.start()
        for closer in closers:
            closer.join()
        self._settler.close()
        self._leases.close()
        deadline.cancel()
        self.link.close()
        self._bus.emit(WorkerStopped(self.name, sum(self._runner.ended.values())))

    # --- inside a program

    async def __aenter__(self) -> Self:
        self.start(asyncio.get_running_loop())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.close)

    def __enter__(self) -> Self:
        loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=_run_loop, args=(loop,), name="longboat-loop", daemon=True)
        self._thread.start()
        try:
            self.start(loop)
        except BaseException:
            self._end_loop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
        self._end_loop()

    def _end_loop(self) -> None:
        if self._thread is not None and self._loop is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()

    # --- wiring

    def _executor(self, name: str) -> Executor:
        """The executor of that name, made when a task first needs it."""
        with self._executors_lock:
            if name not in self._executors:
                self._executors[name] = self._make(name)
            return self._executors[name]

    def _make(self, name: str) -> Executor:
        if name == "thread":
            from longboat.executors.threads import ThreadExecutor

            return ThreadExecutor(self._options.threads, self._done)
        if name == "process":
            from longboat.executors.processes import ProcessExecutor

            return ProcessExecutor(self._options.processes, self._done, max_memory=self._options.max_memory)
        from longboat.executors.asyncio import AsyncioExecutor

        assert self._loop is not None
        return AsyncioExecutor(self._options.concurrency, self._done, self._loop)

    def _done(self, call: Call, reply: Reply) -> None:
        self._runner.done(call, reply)
        self._fetcher.freed()

    def _executor_of(self, lease: Lease) -> str | None:
        task = self._registry.get(lease.job.task)
        return None if task is None else task.settings.executor

    def _after_beat(self) -> None:
        self.beaten()
        if any(executor.worn for executor in self._executors.values()):
            self.finish("worn")
        limit = self._options.max_memory
        if limit is not None and resident() > limit:
            self.finish("max-memory")


def _run_loop(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
