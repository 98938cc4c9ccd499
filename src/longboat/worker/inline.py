"""InlineWorker: runs what is due in the thread that asks, with the parts of a worker but without its threads. For tests."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from contextvars import Context
from typing import Any

import msgspec

from longboat.contract.broker import Broker, Lease
from longboat.contract.capabilities import Capability
from longboat.core import codec, reasons
from longboat.core.clock import SYSTEM
from longboat.core.job import Cancelled, Dead, Done, Failure, Outcome, Park, Retry
from longboat.executors import invoke
from longboat.executors.base import Executor
from longboat.executors.contract import Call, Reply
from longboat.executors.joblogs import listen_to_logs
from longboat.observe.events import Bus
from longboat.observe.stream import EventPublisher
from longboat.tasks.current import JobChannel, Running, running
from longboat.tasks.depends import Resources
from longboat.tasks.registry import Registry
from longboat.worker.apart import settle_apart
from longboat.worker.broker_link import BrokerLink
from longboat.worker.executor_set import ExecutorSet
from longboat.worker.finisher import Finisher
from longboat.worker.in_flight import InFlight
from longboat.worker.options import options
from longboat.worker.pause_filter import PauseFilter
from longboat.worker.progress_writer import ProgressWriter
from longboat.worker.quarantine import Quarantine
from longboat.worker.recorder import Recorder
from longboat.worker.runner import PATIENCE, Runner
from longboat.worker.status import Status
from longboat.worker.worker_events import WorkerEvents

NAME = "inline"

FAILURES = (Exception, SystemExit, asyncio.CancelledError)
"""What fails an attempt. Anything else, such as Ctrl-C or what a test framework raises, is the caller's."""

STATES: dict[type, str] = {Done: "succeeded", Retry: "retried", Dead: "dead", Cancelled: "cancelled", Park: "parked"}


class WorkerKilled(BaseException):
    """Raised within a job to end its worker there and then: nothing is settled, nothing handed back.

    It unwinds the function: transactions are rolled back and files closed, as at a process's end.
    """


class JobLost(BaseException):
    """Raised within a job, or at its end, to have its lease be lost: the job is there for another worker at once."""


class Performed(msgspec.Struct):
    """What became of one attempt."""

    id: str
    """The job's."""
    task: str
    """The task's name."""
    attempt: int
    """Counted from 1."""
    state: str
    """Of the job, after it: succeeded, retried, dead, cancelled, parked; killed or lost where a test had it so."""
    result: Any = None
    """The return value as it arrives at who waits for it."""
    failure: Failure | None = None
    """What is recorded of a failed attempt."""
    error: BaseException | None = None
    """The exception that the function raised."""


class InlineExecutor(Executor):
    """Keeps calls until somebody runs them, one after the other."""

    def __init__(self, owner: Finisher, job_channel: JobChannel, resources: Resources) -> None:
        super().__init__(1, owner)
        self.calls: deque[Call] = deque()
        self.error: BaseException | None = None
        """What the last function raised."""
        self.around: Callable[[Call], AbstractContextManager[None]] = lambda _: nullcontext()
        """Entered around each function."""
        self._job_channel = job_channel
        self._resources = resources

    def _begin(self, calls: Sequence[Call]) -> None:
        self.calls.extend(calls)

    def _ask_to_stop(self, call: Call) -> None:
        """Nothing runs while somebody asks."""

    def _cut_off(self, call: Call) -> None:
        """As above."""

    def run(self, call: Call) -> Reply:
        """Run a plain function."""
        given = self._given(call)
        if isinstance(given, Reply):
            return given
        args, kwargs = given
        try:
            with self.around(call):
                if call.task.needs:
                    kwargs.update(self._resources.get(call.task.needs))
                value = call.task.body(*args, **kwargs)
        except FAILURES as error:
            return self._raised(call, error)
        return invoke.returned(call.task, value)

    async def arun(self, call: Call) -> Reply:
        """Run a coroutine function."""
        given = self._given(call)
        if isinstance(given, Reply):
            return given
        args, kwargs = given
        try:
            with self.around(call):
                if call.task.needs:
                    kwargs.update(await self._resources.aget(call.task.needs))
                value = await call.task.body(*args, **kwargs)
        except FAILURES as error:
            return self._raised(call, error)
        return invoke.returned(call.task, value)

    def _given(self, call: Call) -> Reply | tuple[Sequence[Any], dict[str, Any]]:
        """The arguments; a reply where they do not fit."""
        self.error = None
        job = call.lease.job
        running.set(Running(job.id, job.task, job.queue, call.lease.attempt, self._job_channel, job.headers))
        try:
            given = call.task.arguments.decode(job.payload)
        except Exception as error:
            return invoke.refused(error)
        call.started = time.monotonic()
        return given

    def _raised(self, call: Call, error: BaseException) -> Reply:
        self.error = error
        return invoke.raised(call.task, error)


class InlineWorker:
    """One worker, with one slot. Leave it by `close` or `aclose`; once it was killed it does nothing more.

    `step` runs coroutine functions on a loop of its own, and may not be called where a loop runs; `astep` runs them on the
    running loop, and plain functions in another thread.
    """

    def __init__(self, broker: Broker, registry: Registry, bus: Bus, *, lease: float, queues: Sequence[str] = ()) -> None:
        if not queues and Capability.EVERY_QUEUE not in broker.capabilities:
            queues = registry.queues()
        chosen = options(queues=queues, lease=lease, threads=1, processes=1)
        status = Status(NAME, lease)
        self.killed = False
        self.pauses = True
        """False: retries come at once."""
        self._broker = broker
        self._registry = registry
        self._bus = bus
        self._resources = Resources()
        self._opened = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._in_flight = in_flight = InFlight()
        events = WorkerEvents(bus, EventPublisher(broker.kv, NAME), in_flight, registry.tasks)
        self._link = BrokerLink(broker, chosen, registry.names(), NAME, events)
        self._recorder = Recorder(broker.kv, NAME)
        self._finisher = Finisher(status, in_flight, events, self._recorder)
        self._progress = ProgressWriter(broker.kv, NAME, events.progressed)
        events.latest = self._progress.latest
        self._pauses = PauseFilter(broker.kv, self._link, NAME)
        self.executor = InlineExecutor(self._finisher, self._progress, self._resources)
        executors = ExecutorSet(chosen, self._finisher, self._progress, self._resources, registry.modules)
        executors.by_name = dict.fromkeys(("async", "thread", "process"), self.executor)
        quarantine = _NoQuarantine(status, self._link, in_flight, executors)
        self._runner = Runner(registry, in_flight, self._pauses, quarantine, executors, self._finisher)
        listen_to_logs()

    def step(self) -> Performed | None:
        """Run the next job that is due; None: there is none. Raises BrokerUnavailable, and what is no failure of a job."""
        if (lease := self._receive()) is None:
            return None
        with self._ending(lease) as ended:
            if self.executor.calls:
                call = self.executor.calls.popleft()
                reply = self._on_own_loop(call) if self._needs_loop(call) else Context().run(self.executor.run, call)
                self.executor.reply(call, reply)
            ended.append(self._settle(lease))
        return ended[0]

    async def astep(self) -> Performed | None:
        """As `step`, in a coroutine."""
        if (lease := self._receive()) is None:
            return None
        await self._open()
        with self._ending(lease) as ended:
            if self.executor.calls:
                call = self.executor.calls.popleft()
                if call.task.settings.executor == "async":
                    task = asyncio.get_running_loop().create_task(self.executor.arun(call), context=Context())
                    reply = await task
                else:
                    reply = await asyncio.to_thread(Context().run, self.executor.run, call)
                self.executor.reply(call, reply)
            ended.append(self._settle(lease))
        return ended[0]

    def close(self) -> None:
        """Hand back what is held, unless it was killed, and close what was opened, as the end of its process would."""
        if self._loop is not None:
            self._loop.run_until_complete(self._resources.aclose())
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()
        else:
            self._resources.close()
        self._leave()

    async def aclose(self) -> None:
        await self._resources.aclose()
        self._leave()

    def _leave(self) -> None:
        if not self.killed:
            self._link.close()
        self._bus.flush(1.0)

    def _receive(self) -> Lease | None:
        if self.killed:
            return None
        self._pauses.run(SYSTEM.monotonic())
        self.executor.error = None
        leases = self._link.consumer().receive(1, wait=0)
        if not leases:
            return None
        self._runner.take(leases)
        return leases[0]

    def _needs_loop(self, call: Call) -> bool:
        return call.task.settings.executor == "async" or bool(self._registry.lifespans and not self._opened)

    def _on_own_loop(self, call: Call) -> Reply:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
        loop = self._loop
        loop.run_until_complete(self._open())
        if call.task.settings.executor != "async":
            return Context().run(self.executor.run, call)
        return loop.run_until_complete(loop.create_task(self.executor.arun(call), context=Context()))

    async def _open(self) -> None:
        if not self._opened:
            self._opened = True
            await self._resources.aget({str(place): each for place, each in enumerate(self._registry.lifespans)})

    @contextlib.contextmanager
    def _ending(self, lease: Lease) -> Iterator[list[Performed]]:
        """Collects what became of the lease; also where the worker dies or loses it."""
        ended: list[Performed] = []
        job = lease.job
        try:
            yield ended
        except WorkerKilled:
            self.killed = True
            self._link.consumer().settle((), started=[lease])  # as its heartbeat would have noted by then
            self._progress.run(SYSTEM.monotonic())  # and this
            ended.append(Performed(job.id, job.task, lease.attempt, "killed"))
        except JobLost:
            self.killed = True
            consumer = self._link.consumer()
            consumer.settle((), started=[lease])
            self._broker.evict(consumer.id, reasons.worker_died(NAME, SYSTEM.now()))
            ended.append(Performed(job.id, job.task, lease.attempt, "lost"))

    def _settle(self, lease: Lease) -> Performed:
        while self._in_flight.misfits:
            call, failure = self._in_flight.misfits.popleft()
            self._finisher.finish(call.lease, Park(PATIENCE, failure))
        batch = list(self._in_flight.outcomes)
        self._in_flight.outcomes.clear()
        outcome = batch[0].outcome
        if isinstance(outcome, Retry) and not self.pauses:
            outcome.delay = 0.0
        settle_apart(self._link.consumer(), batch)
        self._recorder.settled(batch)
        self._progress.run(SYSTEM.monotonic())
        return self._performed(lease, outcome)

    def _performed(self, lease: Lease, outcome: Outcome) -> Performed:
        job = lease.job
        done = Performed(job.id, job.task, lease.attempt, STATES.get(type(outcome), "released"))
        if isinstance(outcome, Done):
            task = self._registry.get(job.task)
            done.result = codec.decode(outcome.result or codec.NONE, task.kind if task else Any)
        elif isinstance(outcome, Retry | Dead | Cancelled | Park):
            done.failure, done.error = outcome.failure, self.executor.error
        return done


class _NoQuarantine(Quarantine):
    """Suspects run one by one anyway."""

    def add(self, calls: Sequence[Call]) -> None:
        for call in calls:
            self._executors.of(call).submit([call])
