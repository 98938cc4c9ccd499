"""Worker: wires the services of this folder, and starts and stops them in the right order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Mapping
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Self

import msgspec

from longboat.client.relay import Relay
from longboat.client.waiting import from_threads
from longboat.contract.broker import Broker
from longboat.contract.capabilities import Capability
from longboat.core.clock import SYSTEM
from longboat.core.memory import resident
from longboat.errors import BrokerError, WorkerFailed
from longboat.executors.base import watched
from longboat.executors.contract import CallEnd, Reply
from longboat.executors.joblogs import listen_to_logs
from longboat.executors.timed_calls import TimedCalls
from longboat.observe.events import Bus, WorkerStarted, WorkerStopped, WorkerStopping
from longboat.observe.stream import EventPublisher
from longboat.operate.scheduler import Scheduler
from longboat.tasks.depends import Resources
from longboat.tasks.registry import Registry
from longboat.worker import names
from longboat.worker.broker_link import BrokerLink
from longboat.worker.event_loop import EventLoop
from longboat.worker.executor_set import ExecutorSet
from longboat.worker.fetcher import Fetcher
from longboat.worker.finisher import Finisher
from longboat.worker.in_flight import InFlight
from longboat.worker.leases import Leases
from longboat.worker.load import LoadReport
from longboat.worker.loop_watch import LoopWatch
from longboat.worker.maintenance import MaintenanceLoop, MaintenanceTask, sampling, tidying
from longboat.worker.misfits import Misfits
from longboat.worker.options import WorkerOptions
from longboat.worker.pause_filter import PauseFilter
from longboat.worker.progress_writer import ProgressWriter
from longboat.worker.quarantine import Quarantine
from longboat.worker.queue_names import unused
from longboat.worker.real_threads import check_threads
from longboat.worker.record_writer import WorkerRecordWriter
from longboat.worker.recorder import COARSE, Recorder
from longboat.worker.remote_commands import RemoteCommands
from longboat.worker.rollup import Rollup
from longboat.worker.room import Room
from longboat.worker.runner import Runner
from longboat.worker.settler import Settler
from longboat.worker.stacks import StackWriter
from longboat.worker.status import Status
from longboat.worker.task_records import TaskRecordWriter
from longboat.worker.vitals import Vitals
from longboat.worker.worker_events import WorkerEvents

if TYPE_CHECKING:
    from longboat.worker.health import Health

log = logging.getLogger("longboat.worker")

NO_TASK = (
    "no task found; modules imported: %s. Define one there with @app.task, or name the module that does with --include; "
    "of a Django project it is `tasks` of an app in INSTALLED_APPS"
)
LAST_SECONDS = 1.0
"""Seconds that what was opened gets to close, at least."""
LAST_WORDS = 3.0
"""Seconds for the last log lines and events to reach their listeners: within what a supervisor grants beyond the grace."""


class Worker:
    """Receives jobs, runs them, settles them.

    Inside a program: `async with app.worker():` runs coroutine tasks on the loop it is entered in, `with app.worker():`
    on a loop in a thread of its own. Leaving the block finishes what runs, within the grace, and hands back the rest. If
    one of the worker's own threads fails, the worker stops: `finished` is set, `reason` tells why, and leaving the block
    raises WorkerFailed.
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
        check_threads()
        if not options.queues and Capability.EVERY_QUEUE not in broker.capabilities:
            options = msgspec.structs.replace(options, queues=registry.queues())
        self._relay: Relay | None = None
        self.name = name = names.take(self)
        self.status = status = Status(name, options.lease)
        self.finished = status.finished
        """Set once there is nothing more to do here: `reason` says why. Whoever started the worker then closes it."""
        self.finish = status.finish
        self._registry = registry
        self._options = options
        self._address = address
        self._resources = Resources()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._own_loop: EventLoop | None = None
        self._closing = threading.Lock()
        self._closed = False
        # What jobs pass through, from the end to the beginning: in_flight.py shows it.
        self._in_flight = in_flight = InFlight()
        traced = Capability.LOOKUP not in broker.capabilities
        self.events = WorkerEvents(bus, EventPublisher.of(broker, name), in_flight, registry.tasks, traced=traced)
        self.link = BrokerLink(broker, options, registry.names(), name, self.events)
        self.recorder = Recorder(broker.kv, name, COARSE if Capability.BROADCAST in broker.capabilities else 1)
        progress_writer = ProgressWriter(broker.kv, self.name, self.events.progressed)
        self.events.latest = progress_writer.latest
        self._settler = Settler(status, self.link, in_flight, self.recorder, progress_writer)
        self._finisher = Finisher(status, in_flight, self.events, self.recorder)
        self._executors = ExecutorSet(options, self._finisher, progress_writer, self._resources, registry.modules)
        self._quarantine = Quarantine(status, self.link, in_flight, self._executors)
        self._pauses = pause_filter = PauseFilter(broker.kv, self.link, name)
        runner = Runner(registry, in_flight, pause_filter, self._quarantine, self._executors, self._finisher)
        room = Room(self._executors, in_flight)
        self._fetcher = Fetcher(status, self.link, in_flight, runner, room, self._settler)
        # What goes on beside it.
        self._loop_watch = LoopWatch(status, self.link, in_flight, self._executors)
        self._leases = Leases(status, self.link, in_flight, runner, self.events, [self._loop_watch.look, room.look])
        self._misfits = misfits = Misfits(broker.kv, in_flight, pause_filter, self._finisher)
        tasks = {
            "misfits": misfits.run,
            "pauses": pause_filter.run,
            "progress": progress_writer.run,
            **self._maintenance_tasks(broker),
        }
        self._maintenance = MaintenanceLoop(status, tasks)
        self.health = self._make_health({} if enqueued is None else enqueued)
        """The page about this worker, if the options name a port."""

    def _maintenance_tasks(self, broker: Broker) -> dict[str, MaintenanceTask]:
        declared, queues = self._registry.schedules, self._options.queues
        names = [schedule.name for schedule in declared]
        self._task_records = TaskRecordWriter(broker.kv, self._registry)
        self._record_writer = WorkerRecordWriter(self.status, self.link, self._in_flight, self._executors, names)
        stacks = StackWriter(broker.kv, self._in_flight, self._executors)
        return {
            "recycling": self._recycle,
            "commands": RemoteCommands(broker.kv, self.status, self._fetcher, self._record_writer, stacks).run,
            "schedules": Scheduler(broker, declared, self._registry.tasks.keys(), queues).run,
            "history": self.recorder.run,
            "worker record": self._record_writer.run,
            "task records": self._task_records.run,
            "events": self.events.run,
            "roll-up": Rollup(broker.kv).run,
            "tidying": tidying(broker),
            "depth": sampling(broker),
        }

    def _recycle(self, now: float) -> float:
        """Finish, if an executor is worn and the process can be replaced, or if it has grown too large."""
        if self.status.replaced and not self.finished.is_set() and (task := self._executors.worn):
            log.warning(
                "a call of task %s did not end when its time was up, and cannot be ended: this process takes no more jobs, "
                "and another takes its place; what runs here is finished. What may run for long belongs in a child "
                'process: @app.task(executor="process")',
                task,
            )
            self.finish("worn")
        limit = self._options.max_memory
        if limit is not None and resident() > limit:
            self.finish("max-memory")
        return now + 1.0

    def _make_health(self, enqueued: Mapping[tuple[str, str], int]) -> Health | None:
        port = self._options.health_port
        if port is None:
            return None
        from longboat.worker.health import Health  # its HTTP server takes a megabyte

        ports = range(port, min(65535, port + self._options.health_ports - 1) + 1) if port else range(1)
        vitals = Vitals(self.status, self.link, self._executors, self.recorder, enqueued)
        return Health(self.status, self._options.health_host, ports, vitals.answer)

    @property
    def reason(self) -> str:
        """Why this worker has finished."""
        return self.status.reason

    def show_timed_calls(self, timed: TimedCalls) -> None:
        """Show those that run in threads to the supervisor; before it is opened."""
        self._executors.timed = timed

    def report_load(self, tell: Callable[[str], None]) -> None:
        """Tell each second how much there is to do here and how busy this worker is; before it is opened."""
        self._maintenance.tasks["load"] = LoadReport(self.link, self._in_flight, self._executors, tell).run

    def relay(self, relay: Relay | None) -> None:
        """Bring what stands in the app's outbox to the broker; before it is opened."""
        self._relay = relay
        if relay is not None:
            self._maintenance.tasks["outbox"] = relay.run

    def report_successes(self) -> None:
        """Log the jobs that succeed: each while they are few, else how many; before it is opened."""
        self._maintenance.tasks["successes"] = self._finisher.successes.start()

    # --- start and stop

    async def open(self) -> None:
        """Begin; coroutine tasks run on this loop. Raises BrokerError if the broker cannot be reached now, and what the
        app's lifespans raise."""
        try:
            await self._resources.aget({str(place): each for place, each in enumerate(self._registry.lifespans)})
            self._loop = self._executors.loop = asyncio.get_running_loop()
            self._loop_watch.thread = threading.get_ident()
            await self._start_beside()
        except BaseException:
            await self._resources.aclose()
            raise

    async def _start_beside(self) -> None:
        """Start in a thread, since the broker may take its time. Whoever is cancelled meanwhile leaves nothing started."""
        starting = asyncio.ensure_future(asyncio.to_thread(self._start))
        try:
            await asyncio.shield(starting)
        except asyncio.CancelledError:
            await asyncio.wait([starting])
            if starting.exception() is None:
                await asyncio.to_thread(self.close, 0.0)
            raise

    def _start(self) -> None:
        for name in {task.settings.executor for task in self._registry.tasks.values()} or {"async"}:
            self._executors.get(name)
        listen_to_logs()
        self.link.consumer()
        with contextlib.suppress(Exception):  # the maintenance loop tries again, and tells
            self._pauses.run(SYSTEM.now())  # before the first claim: what is paused is not to run
            self._task_records.run(SYSTEM.now())  # and limits may have other numbers now
        for service in (self._settler, self._leases, self._maintenance, self._fetcher, self.health):
            if service is not None:
                service.start()
        watched("stop", self._stop_on_alarm, self.status.failed).start()
        queues = list(self._options.queues)
        self.events.emit(WorkerStarted(self.name, self._address, queues, len(self._registry.tasks)))
        for sentence in unused(self.link.broker, queues, self._registry.queues()):
            log.warning("%s", sentence)
        if not self._registry.names():
            log.warning(
                NO_TASK, ", ".join(name for name in self._registry.modules if not name.startswith("longboat.")) or "none"
            )

    def close(self, grace: float | None = None) -> None:
        """Stop: finish what runs within `grace` seconds (the options' unless given), hand back the rest. Blocks.

        Calling it again from another thread with a shorter grace shortens the wait.
        """
        self._stop(grace)
        if self.health is not None:
            self.health.close()

    def _stop_on_alarm(self) -> None:
        self.status.alarm.wait()
        self._stop(None)

    def _stop(self, grace: float | None) -> None:
        grace = self._options.grace if grace is None else grace
        if self.status.error is not None:  # perhaps nobody renews the leases: they last for a third of their time at least
            grace = min(grace, self._options.lease / 3)
        if not self._closing.acquire(blocking=False):
            self._executors.close(grace)
            with self._closing:
                return
        try:
            if not self._closed:
                self._shut(grace)
                self._closed = True
                names.release(self.name)
        finally:
            self._closing.release()
            self.status.alarm.set()

    def _shut(self, grace: float) -> None:
        """Senders end before receivers: fetcher, executors, settler; the heartbeat last, as long jobs are waited for."""
        self.finish("closed")
        if self._in_flight.calls:
            self.events.emit(WorkerStopping(self.name, len(self._in_flight.calls), grace))
        # A broker that is down must not hold up the end: its calls are given up once the grace is over.
        deadline = threading.Timer(grace, self.link.closing.set)
        deadline.daemon = True
        deadline.start()
        steps: dict[str, Callable[[], object]] = {
            "fetcher": self._fetcher.close,
            "quarantine": self._hand_back_suspects,
            "executors": partial(self._executors.close, grace),
            "misfits": self._misfits.hand_back,
            "settler": self._settler.close,
            "resources": partial(self._close_resources, min(grace, self._options.grace)),
            "maintenance": self._leave,
            "heartbeat": self._leases.close,
            "consumer": self.link.close,
        }
        for part, step in steps.items():
            try:
                step()
            except Exception as error:  # the other steps hand back what they can
                self.status.failed(part, error)
        deadline.cancel()
        ended = sum(tally.succeeded + tally.dead + tally.cancelled for tally in self.recorder.totals().values())
        told = SYSTEM.monotonic() + LAST_WORDS
        self._finisher.successes.leave(LAST_WORDS)
        seconds = max(0.0, told - SYSTEM.monotonic())
        self.events.leave(WorkerStopped(self.name, ended), seconds, answers=self._maintenance.answered)

    def _hand_back_suspects(self) -> None:
        self._quarantine.stop()
        for call in self._quarantine.empty():
            self._finisher.done(call, Reply(CallEnd.UNSTARTED))

    def _close_resources(self, grace: float) -> None:
        if self._loop is None or self._loop.is_closed():
            return
        if self.status.blocked:
            log.error("what the worker had opened is not closed: %s", self.status.blocked)
            return
        closing = asyncio.run_coroutine_threadsafe(self._resources.aclose(), self._loop)
        try:
            closing.result(max(grace, LAST_SECONDS))
        except Exception:
            log.exception("what the worker had opened could not be closed")

    def _leave(self) -> None:
        self._maintenance.last_round()
        if self._relay is not None:
            self._relay.close()
        if self._maintenance.answered:
            with contextlib.suppress(BrokerError):  # then the record is believed for some seconds more
                self._record_writer.leave()

    # --- inside a program

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        closed = asyncio.Event()
        tell = from_threads(closed.set)

        def close() -> None:  # in a thread of its own: the loop's pool may be full of what tasks put there
            try:
                self.close()
            finally:
                tell()

        watched("close", close, self.status.failed).start()
        await closed.wait()
        self._raise_failure(error)

    def __enter__(self) -> Self:
        self._own_loop = EventLoop(self.status)
        self._own_loop.start()
        try:
            asyncio.run_coroutine_threadsafe(self.open(), self._own_loop.asyncio_loop).result()
        except BaseException:
            self._own_loop.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
        if self._own_loop is not None:
            self._own_loop.close()
        self._raise_failure(error)

    def _raise_failure(self, error: BaseException | None) -> None:
        if error is None and self.status.error is not None:
            raise WorkerFailed(f"worker {self.name} stopped, because {self.reason}") from self.status.error
