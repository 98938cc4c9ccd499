"""Harness: an app under test. Its jobs run inside the test, its clock is moved by hand, and its workers die on request."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack, cast

from longboat.app import Longboat, WorkerChoices
from longboat.brokers.memory.broker import MemoryBroker
from longboat.client.client import Client
from longboat.client.waiting import check_may_block
from longboat.contract.broker import Broker
from longboat.core.clock import Duration
from longboat.errors import ConfigError, JobFailed, ResultTimeout
from longboat.operate import scheduler
from longboat.tasks.handle import Handle
from longboat.tasks.middleware import Middleware
from longboat.tasks.outgoing import Outgoing
from longboat.tasks.schedule import Schedule
from longboat.tasks.signature import Call
from longboat.tasks.task import Task
from longboat.testing.broker import TrialBroker
from longboat.testing.clock import MovedClock
from longboat.testing.enqueued import Expected, Which, report, task_of
from longboat.testing.faults import NOT_REAL, Fault, MissedFault, NoFaults
from longboat.testing.idempotent import check
from longboat.worker.inline import NAME, InlineWorker, Performed

if TYPE_CHECKING:
    from longboat.worker.worker import Worker

R = TypeVar("R")

LEASE = 15.0
"""Seconds after which the job of a worker that was killed comes back."""
MOST = 10_000
"""Jobs that one `perform_jobs` runs, at most."""
NEXT = 3600.0
"""Seconds to the next attempt, at most, whether after a failure or a worker's death."""
ROUNDS = 30
"""Attempts that a job which is tested for idempotency gets, at most."""
FOR_EVER = 10 * 365 * 86400.0


class Harness:
    """Puts an app on a memory broker of its own, for as long as it is entered: `with Harness(app) as jobs:`.

    Jobs run when the test says so, in its own thread, as a worker runs them: arguments and results travel, retries, limits,
    flows and schedules work. What a real one has beside that is not there: other threads and processes, and time limits,
    as the clock stands still while a job runs. `worker` gives a real one.
    """

    def __init__(self, app: Longboat) -> None:
        self.app = app
        """The app under test."""
        self.clock = MovedClock(self._pass)
        """Stands still until it is moved: `jobs.clock.move("1h")`."""
        self.broker = TrialBroker(cast(Broker, MemoryBroker(clock=self.clock)))
        """Keeps the jobs; `broker.puts` lists those that were stored, in order."""
        self._faults: list[Fault] = []
        self._eager: bool | None = None
        """None: jobs wait; else whether `enqueue` raises what they raise."""
        self._performing = threading.local()
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with self._stack as stack:
            before = os.environ.get("LONGBOAT_URL")
            os.environ["LONGBOAT_URL"] = "memory://"  # child processes must not reach the app's own broker either
            stack.callback(_set, "LONGBOAT_URL", before)
            stack.enter_context(self.app.lent(partial(_Client, self)))
            self.app.load()
            self._fire()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    # --- running jobs

    def perform_jobs(self, *, raises: bool = True) -> list[Performed]:
        """Run what is due now, in order, and what it enqueues, until nothing is due. Returns each attempt.

        Stops at the first job that is dead, or that no task here fits, and raises what its function raised (JobFailed,
        where it raised nothing); attempts that are retried later raise nothing. `raises=False`: goes on, and only returns
        them. Raises WouldBlock in a coroutine: `await aperform_jobs()` there.
        """
        check_may_block("perform_jobs()", "`await aperform_jobs()`")
        return self._perform(raises, pauses=True)

    async def aperform_jobs(self, *, raises: bool = True) -> list[Performed]:
        """As `perform_jobs`, with coroutine functions on this loop and plain ones in another thread."""
        done: list[Performed] = []
        while True:
            worker = self._new_worker(pauses=self._eager is None)
            try:
                while (each := await worker.astep()) is not None:
                    self._note(each, done, raises)
            except MissedFault as missed:
                raise AssertionError(str(missed)) from None
            finally:
                await worker.aclose()
            if not worker.killed:
                return done

    def _perform(self, raises: bool, *, pauses: bool) -> list[Performed]:
        done: list[Performed] = []
        while True:
            worker = self._new_worker(pauses)
            try:
                while (each := worker.step()) is not None:
                    self._note(each, done, raises)
            except MissedFault as missed:
                raise AssertionError(str(missed)) from None
            finally:
                worker.close()
            if not worker.killed:
                return done

    def _new_worker(self, pauses: bool) -> InlineWorker:
        self._fire()
        worker = InlineWorker(cast(Broker, self.broker), self.app.registry, self.app.bus, lease=LEASE)
        worker.pauses = pauses
        worker.executor.around = self._around
        return worker

    def _note(self, each: Performed, done: list[Performed], raises: bool) -> None:
        done.append(each)
        if raises and each.state in ("dead", "parked"):
            raise error_of(each)
        if len(done) > MOST:
            raise AssertionError(f"{MOST:,} jobs ran, and there are more: does {each.task} enqueue itself?")

    @contextlib.contextmanager
    def eager(self, *, raises: bool = True) -> Iterator[None]:
        """Meanwhile, `enqueue` runs the job before it returns, and whatever else is due; retries come without a pause.

        What is to start later waits for the clock and `perform_jobs`. A job that is dead has its exception raised by the
        outermost `enqueue`; with `raises=False` it shows only in the job's result, as it does with a worker.
        """
        before, self._eager = self._eager, raises
        try:
            yield
        finally:
            self._eager = before

    def _enqueued(self) -> None:
        """A call of `enqueue` has stored something."""
        if self._eager is None:
            return
        if asyncio._get_running_loop() is None:
            self._perform_within(self._performing)
        else:  # no job may find a loop running in its thread
            caught: list[BaseException] = []
            thread = threading.Thread(target=_caught, args=(caught, self._perform_within, self._performing))
            thread.start()
            thread.join()
            if caught:
                raise caught[0]

    def _perform_within(self, here: Any) -> None:
        inner = getattr(here, "running", False)
        here.running = True
        try:
            self._perform(bool(self._eager) and not inner, pauses=False)
        finally:
            here.running = inner

    async def _aenqueued(self) -> None:
        if self._eager is not None:
            await self.aperform_jobs(raises=self._eager)

    @contextlib.contextmanager
    def worker(self, **choices: Unpack[WorkerChoices]) -> Iterator[Worker]:
        """A real worker in this process, with the choices of `app.worker`. From now on the clock goes by itself as well.

        Its lease has no end, so that moving the clock takes no jobs from it. Raises ConfigError after `kill` or `duplicate`.
        """
        if self._faults:
            raise ConfigError(NOT_REAL)
        self.clock.go()
        choices.setdefault("lease", FOR_EVER)
        self._faults = NoFaults()
        try:
            with self.app.worker(**choices) as worker:
                yield worker
        finally:
            self._faults = []

    # --- what was enqueued

    def assert_enqueued(
        self,
        task: Which,
        /,
        *args: Any,
        queue: str | None = None,
        delay: Duration | None = None,
        times: int | None = None,
        **kwargs: Any,
    ) -> Handle[Any]:
        """A job of this task was stored since the harness was entered, whatever became of it; returns the newest.

        Parameters that are not given may have any value, and `unittest.mock.ANY` stands for any. `task.s(…)` names the whole
        call, defaults included. `times`: exactly so many. Raises AssertionError that lists what was enqueued and says what
        comes nearest, ConfigError or BadArguments for a call that could not be made.
        """
        __tracebackhide__ = True
        expected = Expected(self.app, task, (args, kwargs), queue, delay)
        found = [put.job for put in self.broker.puts if expected.differences(put.job) == []]
        if not found or times not in (None, len(found)):
            said = f"was enqueued {_times(len(found))}, not {_times(times)}" if found else "was not enqueued"
            raise AssertionError(report(self.app, expected, self.broker.puts, said))
        return self.app.job(found[-1].id)

    def assert_not_enqueued(
        self, task: Which, /, *args: Any, queue: str | None = None, delay: Duration | None = None, **kwargs: Any
    ) -> None:
        """The opposite of `assert_enqueued`. Without arguments: no job of this task was stored."""
        __tracebackhide__ = True
        expected = Expected(self.app, task, (args, kwargs), queue, delay)
        found = [put for put in self.broker.puts if expected.differences(put.job) == []]
        if found:
            raise AssertionError(report(self.app, expected, found, f"was enqueued {_times(len(found))}"))

    # --- faults

    def kill(self, task: Which, *, after: str | None = None) -> None:
        """The worker that runs the next job of this task is killed in the middle: after a line that has the text `after`.

        Without one, when the function has returned, before that is known to anybody. The job comes back as with a worker
        whose machine has died: once its lease is over, 15 s later. The line may be in any function of the program itself
        that the task calls. `perform_jobs` raises AssertionError if no such line has run. Raises ConfigError while there is
        a real worker: it is a part of the test's own process.
        """
        self._faults.append(Fault(task_of(self.app, task).name, after))

    def duplicate(self, task: Which) -> None:
        """The next job of this task runs twice: when its first run has ended, its lease turns out to be lost.

        Raises ConfigError while there is a real worker.
        """
        self._faults.append(Fault(task_of(self.app, task).name, duplicate=True))

    def outage(self) -> contextlib.AbstractContextManager[None]:
        """Meanwhile the broker is away: `enqueue`, and all else that asks it, raises BrokerUnavailable."""
        return self.broker.outage()

    @contextlib.contextmanager
    def _around(self, call: Any) -> Iterator[None]:
        for fault in self._faults:
            if fault.task == call.task.name:
                self._faults.remove(fault)
                with fault.struck():
                    yield
                return
        yield

    def assert_idempotent(
        self,
        task: Which,
        /,
        *args: Any,
        effects: Callable[[], Any],
        reset: Callable[[], object],
        **kwargs: Any,
    ) -> None:
        """Running the job twice is as good as once, wherever its first worker dies.

        Runs it undisturbed, then again and again: each time the worker dies after another line of the task, and the job is
        delivered once more. `reset` puts the world back to where it was before the job, `effects` returns what it has done
        to it: whatever can be compared. Jobs that the task enqueues are run too. Raises AssertionError that names the lines
        after which the outcome differs.
        """
        __tracebackhide__ = True
        call = task if isinstance(task, Call) else Call(task_of(self.app, task), args, kwargs)

        def run(fault: Fault | None) -> None:
            with Harness(self.app) as inner:
                inner._finish(call, fault)

        check(run, call.task.name, effects, reset)

    def _finish(self, call: Call[Any], fault: Fault | None) -> None:
        """Run this job, with the fault in its first run, and what it enqueues. Raises what it raised where it is dead."""
        if fault is not None:
            self._faults.append(fault)
        handle = cast(Task[..., Any], call.task).enqueue(*call.args, **call.kwargs)
        last = Performed(handle.id, handle.task, 0, "unstarted")
        for _ in range(ROUNDS):
            last = next((each for each in reversed(self.perform_jobs(raises=False)) if each.id == handle.id), last)
            if last.state not in ("unstarted", "released", "retried", "killed", "lost"):
                break
            self.clock.move(NEXT)
        if last.state != "succeeded":
            raise error_of(last)

    # --- time

    def _pass(self, until: float) -> None:
        """Advance the clock, by every tick of a schedule on the way."""
        while (tick := self._fire()) <= until:
            self.clock.advance(max(tick - self.clock.now(), 1e-6))
        self.clock.advance(max(0.0, until - self.clock.now()))
        self._fire()
        self.broker.wake()

    def _fire(self) -> float:
        """Enqueue what schedules have due now; returns when the next one is due."""
        if self.broker.is_away:
            return math.inf
        now, registry, broker = self.clock.now(), self.app.registry, cast(Broker, self.broker)
        scheduler.Scheduler(broker, registry.schedules, registry.tasks.keys()).run(now)
        active = [each for _, each in scheduler.stored(broker.kv) if isinstance(each, Schedule) and not each.paused]
        return min((next(iter(each.next(now)), math.inf) for each in active), default=math.inf)


class _Client(Client):
    """Tells the harness of what was stored. Nobody waits for a job that nobody runs."""

    def __init__(self, harness: Harness, middlewares: Sequence[Middleware]) -> None:
        super().__init__(cast(Broker, harness.broker), middlewares)
        self._harness = harness

    def send(self, outgoing: Outgoing) -> list[Handle[Any]]:
        handles = super().send(outgoing)
        self._harness._enqueued()
        return handles

    async def asend(self, outgoing: Outgoing) -> list[Handle[Any]]:
        if outgoing.plain:
            handles = await super().asend(outgoing)
        else:
            handles = await asyncio.to_thread(super().send, outgoing)
        await self._harness._aenqueued()
        return handles

    def result(self, handle: Handle[R], timeout: Duration | None) -> R:
        self._look_at(handle)
        return super().result(handle, timeout)

    async def aresult(self, handle: Handle[R]) -> R:
        self._look_at(handle)
        return await super().aresult(handle)

    def subscribe(
        self, handles: Sequence[Handle[Any]], sink: Callable[[str], None], failed: Callable[[Exception], None] | None = None
    ) -> Callable[[], None]:
        for handle in handles:
            self._look_at(handle)
        return super().subscribe(handles, sink, failed)

    def _look_at(self, handle: Handle[Any]) -> None:
        if handle.known is not None or handle.keep == 0:
            return
        handle.known = self.broker.results.get([handle.id])[0]
        if handle.known is None and not self._harness.broker.served_by_others(NAME):
            raise ResultTimeout(
                f"job {handle.id} has not ended, and nobody runs it: {self.why(handle.id)}. In a test, call perform_jobs() "
                "first, or use eager or a worker"
            )


def error_of(each: Performed) -> BaseException:
    """What its function raised; JobFailed where it raised nothing."""
    if each.error is not None:
        return each.error
    kind, message, trace = (
        (each.failure.type, each.failure.message, each.failure.traceback) if each.failure else ("", "", "")
    )
    return JobFailed(each.id, each.task, kind, message, trace, each.attempt)


def _times(count: int | None) -> str:
    return "once" if count == 1 else f"{count} times"


def _set(name: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value


def _caught(into: list[BaseException], call: Callable[[Any], None], value: Any) -> None:
    try:
        call(value)
    except BaseException as error:
        into.append(error)
