"""LoopWatch: notices from another thread that a job blocks the event loop, says which and where, and frees the others."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import traceback
from contextvars import Context
from itertools import islice, takewhile
from types import FrameType

from longboat.executors import asyncio as asyncio_executor
from longboat.executors.asyncio import AsyncioExecutor
from longboat.executors.contract import Call
from longboat.tasks.current import running
from longboat.worker.broker_link import BrokerLink
from longboat.worker.event_loop import ContextTask
from longboat.worker.executor_set import ExecutorSet
from longboat.worker.in_flight import InFlight
from longboat.worker.status import Status
from longboat.worker.supervisor import EXIT_FAILED

log = logging.getLogger("longboat.worker")

ASK_EVERY = 0.5
BLOCKED_AFTER = 1.5
"""Seconds without an answer after which the loop counts as blocked. (16 CPU-bound threads held one up for 0.9 s.)"""
LEAST_PATIENCE = 5.0
"""Seconds that a job may block the loop from then on, however short the grace."""
DEEPEST = 30
"""Frames of a stack that are shown, at most."""


class LoopWatch:
    """Asks the loop for a sign of life again and again. `look` belongs to the heartbeat's thread.

    While the loop is blocked the worker takes no jobs, and those that have not begun are handed back. A job that blocks it
    for the worker's grace, or beyond its own time limit, has timed out; what else runs in the loop is then handed back.
    """

    def __init__(self, status: Status, link: BrokerLink, in_flight: InFlight, executors: ExecutorSet) -> None:
        self.thread = 0
        """The loop's, by its identifier."""
        self._status = status
        self._link = link
        self._in_flight = in_flight
        self._executors = executors
        self._asked_at = 0.0
        self._answered = True
        self._noticed_at = 0.0
        self._given_up = False
        self._untold = False
        """It cannot be told whether it is a job's doing."""

    def look(self, now: float) -> None:
        executor = self._executors.coroutines
        if executor is None or executor.loop.is_closed():
            return
        if self._answered:
            if self._status.blocked:
                self._is_free(executor, now)
            if now - self._asked_at >= ASK_EVERY:
                self._answered, self._asked_at = False, now
                executor.loop.call_soon_threadsafe(self._answer)
        elif not self._status.blocked:
            if now - self._asked_at >= BLOCKED_AFTER:
                self._noticed_at = now
                self._is_blocked(executor)
        elif not self._given_up and self._patience_is_over(executor, now):
            self._give_up(executor)

    def _answer(self) -> None:
        """In the loop's thread."""
        self._answered = True

    def _is_blocked(self, executor: AsyncioExecutor) -> None:
        frame = sys._current_frames().get(self.thread)
        call, stack = None, _shown(frame)
        try:
            call, self._untold = _blocker(executor, frame), False
            by = "something that is no job" if call is None else f"job {call.lease.job.id} of task {call.task.name}"
        except LookupError:
            by, self._untold = "something unknown", True
        self._status.blocked = f"the event loop is blocked by {by}"
        self._link.wake()
        log.error(
            "%s: it neither awaits nor ends, so that no other coroutine runs, and the worker takes no jobs meanwhile. Await "
            "there, or make the task a plain function, which runs in a thread. It is at\n%s",
            self._status.blocked,
            stack,
        )
        executor.is_blocked(call, stack)

    def _is_free(self, executor: AsyncioExecutor, now: float) -> None:
        executor.is_free()
        self._status.blocked, self._given_up = "", False
        for call in self._in_flight.calls:
            if call.stopping is not None:
                call.deadline = now + LEAST_PATIENCE  # it hears only now that it is to end
        self._in_flight.room.ring()
        log.warning("the event loop runs again; the worker takes jobs")

    def _patience_is_over(self, executor: AsyncioExecutor, now: float) -> bool:
        if executor.blocker is not None and executor.blocker not in self._in_flight.calls:
            return True  # it was abandoned because of its own time limit
        return now - self._noticed_at >= max(LEAST_PATIENCE, self._link.options.grace)

    def _give_up(self, executor: AsyncioExecutor) -> None:
        if self._untold and self._status.replaced:
            # The quarantine finds out which of them it is.
            self._status.on_failure(self._status.blocked)
            os._exit(EXIT_FAILED)
        self._given_up = True
        log.error("%s: what else ran in it is handed back", self._status.blocked)
        executor.give_up()


def _blocker(executor: AsyncioExecutor, frame: FrameType | None) -> Call | None:
    """The call whose coroutine, or what that has started, is at work in the loop; None if no job is. Raises LookupError if
    that cannot be told."""
    task, calls = asyncio.current_task(executor.loop), executor.running()
    for call in calls:
        if call.handle is not None and call.handle is task:
            return call
    try:
        job = _context(task, frame).get(running, None)
    except LookupError:
        if len(calls) == 1:
            return calls[0]
        raise
    return None if job is None else next((call for call in calls if call.lease.job.id == job.id), None)


def _context(task: asyncio.Task[object] | None, frame: FrameType | None) -> Context:
    """That in which the loop is at work: tasks and callbacks inherit it from the job that has started them."""
    if isinstance(task, ContextTask):
        return task.get_context()
    if sys.version_info >= (3, 12) and task is not None:
        return task.get_context()
    while frame is not None:
        handle = frame.f_locals.get("self")
        if isinstance(handle, asyncio.Handle):
            context: Context = handle._context  # type: ignore[attr-defined]  # nothing public tells it
            return context
        frame = frame.f_back
    raise LookupError


def _shown(frame: FrameType | None) -> str:
    """What the task does: the innermost part of the stack, without the loop's own."""
    if frame is None:
        return ""
    frames = takewhile(lambda each: not _of_the_loop(each[0]), islice(traceback.walk_stack(frame), DEEPEST))
    return "".join(traceback.StackSummary.extract(reversed(list(frames))).format())


def _of_the_loop(frame: FrameType) -> bool:
    code, myself = frame.f_code, frame.f_locals.get("self")
    return (
        "run_forever" in code.co_name or code.co_filename == asyncio_executor.__file__ or isinstance(myself, asyncio.Handle)
    )
