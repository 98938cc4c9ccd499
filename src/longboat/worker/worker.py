"""Worker: wires the services of this folder, and starts and stops them in the right order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import threading
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

from longboat.contract.broker import Broker, Lease
from longboat.contract.optional import tidy_of
from longboat.core.clock import SYSTEM
from longboat.core.memory import resident
from longboat.errors import BrokerError
from longboat.executors.contract import Call, CallEnd, Executor, Reply
from longboat.executors.joblogs import listen_to_logs
from longboat.observe.events import Bus, WorkerStarted, WorkerStopped, WorkerStopping
from longboat.observe.metrics import Page, Sight, of_worker
from longboat.observe.stream import EventPublisher
from longboat.operate.commands import Command
from longboat.operate.scheduler import Scheduler
from longboat.tasks.depends import Resources
from longboat.tasks.task import Registry
from longboat.worker.fetcher import Fetcher, Room
from longboat.worker.health import Health
from longboat.worker.leases import Leases
from longboat.worker.link import BrokerLink
from longboat.worker.load import LoadReport
from longboat.worker.maintenance import MaintenanceLoop, MaintenanceTask
from longboat.worker.options import WorkerOptions
from longboat.worker.pause_filter import PauseFilter
from longboat.worker.progress_writer import ProgressWriter
from longboat.worker.quarantine import Quarantine
from longboat.worker.record_writer import WorkerRecordWriter
from longboat.worker.recorder import Recorder
from longboat.worker.remote_commands import COMMANDED, WORDS, RemoteCommands
from longboat.worker.runner import Runner
from longboat.worker.settler import Settler
from longboat.worker.tidying import Tidying
from longboat.worker.worker_events import WorkerEvents

LAST_SECONDS = 1.0
"""Seconds that what was opened gets to close, at least."""
SILENCE = 5.0
"""Seconds beyond the lease without a heartbeat after which a worker is not well: a broker that hangs takes some."""


class Worker:
    """Receives jobs, runs them, settles them.

    Inside a program: `async with app.worker():` runs coroutine tasks on the loop it is entered in, `with app.worker():`
    on a loop in a thread of its own. Leaving the block finishes what runs, within the grace, and hands back the rest.
    """

    def __init__(
        self,
        broker: Broker,
        registry: Registry,
        options: WorkerOptions,
        bus: Bus,
        *,
        address: str = "",
        enqueued: Mapping[tuple[str, str], int] | None = None,
    ) -> None:
        """`address`: the broker's, as it may be shown. `enqueued`: jobs stored from this process, for metrics."""
        self.name = options.name or f"{socket.gethostname()}:{os.getpid()}"
        self.finished = threading.Event()
        """Set once there is nothing more to do here: `reason` says why. Whoever started the worker then closes it."""
        self.reason = ""
        self.beaten: Callable[[], None] = lambda: None
        """Called at each heartbeat, whether the broker answers or not."""
        self._registry = registry
        self._options = options
        self._broker = broker
        self._address = address
        self._enqueued = {} if enqueued is None else enqueued
        self._beat_at = SYSTEM.monotonic()
        self.health: Health | None = None
        """The page about this worker, if the options name a port."""
        self._executors: dict[str, Executor] = {}
        self._executors_lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._closing = threading.Lock()
        self._closed = False
        self._inside = False
        self._resources = Resources()
        self.worker_events = WorkerEvents(bus, EventPublisher(broker.kv, self.name), self.name)
        self.link = BrokerLink(broker, options, registry.tasks.keys(), self.name, self.worker_events)
        self.recorder = Recorder(broker.kv, self.name)
        self._progress_writer = ProgressWriter(broker.kv, self.worker_events.progressed)
        self._wire()

    def _wire(self) -> None:
        """Make the services, each with those that it needs."""
        kv = self._broker.kv
        self._settler = Settler(self.link, lambda lease: self._quarantine.settled(lease), self.recorder.settled)
        self._quarantine = Quarantine(self._settler.started, lambda call: self._runner.submit(call))
        pause_filter = PauseFilter(kv, self.link, self.name)
        self._runner = Runner(
            self._registry,
            self._executor,
            self._settler.add,
            self._quarantine,
            self.worker_events,
            pause_filter,
            self.recorder,
            name=self.name,
            patience=self._options.patience,
        )
        self.worker_events.calls, self.worker_events.ended = self._runner.calls, self.ended
        self._record_writer = self._make_record_writer()
        scheduler = Scheduler(self._broker, self._registry.schedules)
        remote_commands = RemoteCommands(kv, self.name, self._execute)
        chores: list[MaintenanceTask] = [
            pause_filter,
            remote_commands,
            scheduler,
            self._progress_writer,
            self.recorder,
            self._record_writer,
            self.worker_events,
        ]
        if tidy := tidy_of(self._broker):
            chores.append(Tidying(tidy))
        self._maintenance = MaintenanceLoop(chores)
        self._leases = Leases(self.link, self._runner, self.worker_events, self.name, self._after_beat)
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
            burst=self._options.burst,
            max_jobs=self._options.max_jobs,
        )

    def ended(self) -> int:
        """Calls that have replied."""
        return sum(self._runner.ended.values())

    def _make_record_writer(self) -> WorkerRecordWriter:
        return WorkerRecordWriter(
            self._broker.kv,
            self.name,
            list(self._options.queues),
            sorted(self._registry.tasks),
            self._executors,
            state=self._state,
            consumer=lambda: self.link.consumer().id,
            calls=lambda: list(self._runner.calls),
            ended=self.ended,
        )

    # --- start and stop

    async def open(self) -> None:
        """Begin; coroutine tasks run on this loop. Raises BrokerError if the broker cannot be reached now, and what the
        app's lifespans raise."""
        try:
            await self._resources.aget({str(place): each for place, each in enumerate(self._registry.lifespans)})
            self._start(asyncio.get_running_loop())
        except BaseException:
            await self._resources.aclose()
            raise

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        for name in {task.settings.executor for task in self._registry.tasks.values()} or {"async"}:
            self._executor(name)
        listen_to_logs()
        self.link.consumer()
        self._settler.start()
        self._leases.start()
        self._maintenance.start()
        self._fetcher.start()
        if self._options.health_port is not None:
            self.health = self._make_health(self._options.health_port)
            self.health.start()
        queues = list(self._options.queues)
        self.worker_events.emit(WorkerStarted(self.name, self._address, queues, len(self._registry.tasks)))

    def finish(self, reason: str) -> None:
        """Say that this worker has nothing more to do; the first reason stays. Returns at once."""
        if not self.finished.is_set():
            self.reason = reason
            self.finished.set()

    def _execute(self, command: Command) -> None:
        logging.getLogger("longboat").warning("worker %s is told to %s", self.name, WORDS[command])
        if command is Command.STOP:
            self._fetcher.hush(True)
            self.finish(COMMANDED)
            if self._inside:  # whoever entered the block need not have asked whether it has finished
                threading.Thread(target=self.close, name="longboat-stop", daemon=True).start()
        elif not self.finished.is_set():
            self._fetcher.hush(command is Command.QUIET)
        self._record_writer.run(SYSTEM.now())

    def _state(self) -> str:
        if self.finished.is_set():
            return "stopping"
        return "quiet" if self._fetcher.quiet else "working"

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
            self.worker_events.emit(WorkerStopping(self.name, len(self._runner.calls), grace))
        # A broker that is down must not hold up the end: its calls are given up once the grace is over.
        deadline = threading.Timer(grace, self.link.closing.set)
        deadline.daemon = True
        deadline.start()
        self._fetcher.close()
        for call in self._quarantine.empty():
            self._runner.done(call, Reply(CallEnd.UNSTARTED))
        closers = [threading.Thread(target=one.close, args=(grace,)) for one in list(self._executors.values())]
        for closer in closers:
            closer.start()
        for closer in closers:
            closer.join()
        self._settler.close()
        self._close_resources(grace)
        answers = self._maintenance.close()
        if answers:
            self._leave()
        self._leases.close()
        deadline.cancel()
        self.link.close()
        self.worker_events.emit(WorkerStopped(self.name, self.ended()))
        self.worker_events.leave(LAST_SECONDS, answers=answers)
        if self.health is not None:
            self.health.close()

    def _leave(self) -> None:
        with contextlib.suppress(BrokerError):  # then its card is believed for some seconds more
            self._record_writer.leave()

    def _close_resources(self, grace: float) -> None:
        if self._loop is None or self._loop.is_closed():
            return
        closing = asyncio.run_coroutine_threadsafe(self._resources.aclose(), self._loop)
        try:
            closing.result(max(grace, LAST_SECONDS))
        except Exception:
            logging.getLogger("longboat").exception("what the worker had opened could not be closed")

    def report_load(self, tell: Callable[[str], None]) -> None:
        """Tell each second how much there is to do here and how busy this worker is; before it is opened."""
        report = LoadReport(self._broker, self._options.queues, self.ended, self._busy, tell)
        self._maintenance.add(report)

    def _busy(self) -> float:
        """The part of the slots in use, of the executor that is busiest."""
        shares = [1 - max(0, each.free()) / each.slots for each in self._executors.values()]
        return max(shares, default=0.0)

    # --- health

    def _make_health(self, port: int) -> Health:
        host, more = self._options.health_host, self._options.health_ports - 1
        return Health(host, port, self._broker, self._page, alive=self._unwell, ready=self._unready, more=more)

    def _unwell(self) -> str | None:
        """What is wrong with this process; a broker that is down is none of it."""
        silent = SYSTEM.monotonic() - self._beat_at
        return f"no heartbeat for {silent:.0f} s" if silent > self._options.lease + SILENCE else None

    def _unready(self) -> str | None:
        if self.finished.is_set():
            return f"stopping: {self.reason}"
        return self._unwell() or (None if self.link.up else "the broker does not answer")

    def _page(self) -> Page:
        executors = list(self._executors.values())
        slots = sum(each.slots for each in executors)
        used = sum(min(each.slots, each.slots - each.free()) for each in executors)
        return of_worker(Sight(self.recorder.totals(), self._enqueued, slots, used, self.link.up))

    # --- inside a program

    async def __aenter__(self) -> Self:
        self._inside = True
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.close)

    def __enter__(self) -> Self:
        self._inside = True
        loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=_run_loop, args=(loop,), name="longboat-loop", daemon=True)
        self._thread.start()
        try:
            asyncio.run_coroutine_threadsafe(self.open(), loop).result()
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

            return ThreadExecutor(self._options.threads, self._done, self._progress_writer, self._resources)
        if name == "process":
            from longboat.executors.processes import ProcessExecutor

            memory = self._options.max_memory
            return ProcessExecutor(self._options.processes, self._done, max_memory=memory, job_channel=self._progress_writer)
        from longboat.executors.asyncio import AsyncioExecutor

        assert self._loop is not None
        return AsyncioExecutor(self._options.concurrency, self._done, self._loop, self._progress_writer, self._resources)

    def _done(self, call: Call, reply: Reply) -> None:
        self._runner.done(call, reply)
        self._fetcher.freed()

    def _executor_of(self, lease: Lease) -> str | None:
        task = self._registry.get(lease.job.task)
        return None if task is None else task.settings.executor

    def _after_beat(self) -> None:
        self._beat_at = SYSTEM.monotonic()
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
