"""ThreadExecutor: plain functions in long-lived threads that are fed by one queue."""

from __future__ import annotations

import os
import threading
from collections.abc import Collection, Sequence
from contextvars import Context
from queue import SimpleQueue
from time import monotonic
from typing import Any

from longboat.executors import invoke, stacks
from longboat.executors.base import Executor, watched
from longboat.executors.contract import Call, Owner, Reply
from longboat.executors.timed_calls import TimedCalls
from longboat.tasks.current import JobChannel, Running, running
from longboat.tasks.depends import Resources
from longboat.tasks.task import Task


class ThreadExecutor(Executor):
    """Runs functions in up to `slots` daemon threads, started as they are needed. Replies come from those threads,
    or from whoever stops, kills or closes."""

    def __init__(
        self, slots: int, owner: Owner, job_channel: JobChannel | None = None, resources: Resources | None = None
    ) -> None:
        super().__init__(slots, owner)
        self._job_channel = job_channel
        self._resources = resources or Resources()
        self._queue: SimpleQueue[Call | None] = SimpleQueue()
        # The single operations of these need no lock.
        self._waiting: set[Call] = set()  # pyright: ignore[reportIncompatibleVariableOverride]  # one of the two
        self._running: dict[Call, threading.Thread] = {}
        self.timed: TimedCalls | None = None
        """Where those with a time limit are shown to the supervisor."""
        self._threads: set[threading.Thread] = set()
        """Without the abandoned ones."""

    def close(self, grace: float) -> None:
        super().close(grace)
        with self.lock:
            threads = tuple(self._threads)
        for _ in threads:
            self._queue.put(None)
        for thread in threads:
            thread.join()

    def stack(self, call: Call) -> str:
        thread = self._running.get(call)
        return stacks.of_thread(thread.ident, __file__) if thread is not None and call.started else ""

    def _begin(self, calls: Sequence[Call]) -> None:
        self._waiting.update(calls)
        for call in calls:
            self._queue.put(call)
        for _ in range(min(self.slots, self.slots - self.free()) - len(self._threads)):
            self._add_thread()

    def _ask_to_stop(self, call: Call) -> None:
        if isinstance(call.handle, Running):
            call.handle.stopping = True

    def _cut_off(self, call: Call) -> None:
        if (thread := self._running.pop(call, None)) is None:
            return
        self.worn = call.task.name
        with self.lock:
            self._threads.discard(thread)
            if not self.closed:
                self._add_thread()
        self.reply(call, invoke.stopped(call, "; it did not end when it was asked to, and its thread was abandoned"))

    def _in_slots(self) -> Collection[Call]:
        return self._running

    def _add_thread(self) -> None:
        thread = watched(f"thread-{len(self._threads) + 1}", self._work, self._owner.failed)
        self._threads.add(thread)
        thread.start()

    # --- in the threads

    def _work(self) -> None:
        me = threading.current_thread()
        while (call := self._queue.get()) is not None:
            self._running[call] = me
            try:
                self._waiting.remove(call)
            except KeyError:
                del self._running[call]  # stopped or handed back before it began
                continue
            reply = Context().run(self._run, call)
            if self.copied:
                os._exit(0)
            if self._running.pop(call, None) is None:
                return  # abandoned: it has replied, and another thread has this one's place
            self.reply(call, invoke.told(call, reply))
            del call, reply

    def _run(self, call: Call) -> Reply:
        lease, task, job = call.lease, call.task, call.lease.job
        call.handle = here = Running(job.id, job.task, job.queue, lease.attempt, self._job_channel, job.headers)
        here.stopping = call.stopping is not None
        running.set(here)
        try:
            args, kwargs = task.arguments.decode(job.payload)
        except BaseException as error:  # a model's validators are anybody's code
            return invoke.refused(error)
        call.started = monotonic()
        if call.settings.timeout is not None and self.timed is not None:
            place = self.timed.begin(call.started + call.settings.timeout, job.id, lease.attempt)
            try:
                return self._result(task, args, kwargs)
            finally:
                self.timed.end(place)
        return self._result(task, args, kwargs)

    def _result(self, task: Task[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> Reply:
        try:
            if task.needs:
                kwargs.update(self._resources.get(task.needs))
            value = task.body(*args, **kwargs)
        except BaseException as error:  # SystemExit and KeyboardInterrupt are the attempt's failure too
            return invoke.raised(task, error)
        return invoke.returned(task, value)
