"""AsyncioExecutor: coroutines, each a task of its own in a loop that runs in another thread."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextvars import Context
from time import monotonic
from typing import Any

from longboat.executors import invoke
from longboat.executors.contract import Call, Callback, CallEnd, Reply
from longboat.executors.ledger import Ledger
from longboat.tasks.current import JobChannel, Running, running
from longboat.tasks.depends import Resources

LAST_CHANCE = 0.25
"""Seconds that coroutines get at the end of close's grace to end by themselves once they are cancelled."""


class AsyncioExecutor:
    """Runs `async def` tasks on `loop`. Replies come from the loop's thread, or from whoever stops, kills or closes."""

    def __init__(
        self,
        slots: int,
        done: Callback,
        loop: asyncio.AbstractEventLoop,
        job_channel: JobChannel | None = None,
        resources: Resources | None = None,
    ) -> None:
        self.slots = slots
        self.worn = False
        self._job_channel = job_channel
        self._resources = resources or Resources()
        self._loop = loop
        self._ledger = Ledger(slots, done)
        self._waiting: deque[Call] = deque()
        self._running: set[Call] = set()
        """Who takes a call out of here makes its reply."""
        self._woken = False
        self._abandoned: list[asyncio.Task[None]] = []
        """Held because a loop holds its tasks by weak references only."""

    def free(self) -> int:
        return self._ledger.free()

    def submit(self, calls: Sequence[Call]) -> None:
        with self._ledger.lock:
            taken = self._ledger.admit(calls)
            if taken:
                self._waiting.extend(calls)
            wake, self._woken = taken and not self._woken, self._woken or taken
        if not taken:
            self._ledger.turn_away(calls)
        elif wake and not self._post(self._start):
            self._ledger.turn_away(call for call in calls if self._withdraw(call))

    def stop(self, call: Call, why: CallEnd) -> None:
        if call.stopping is None:
            call.stopping = why
        if self._withdraw(call):
            self._ledger.reply(call, invoke.stopped(call))
        else:
            self._post(self._cancel, call)

    def kill(self, call: Call) -> None:
        if self._withdraw(call):
            self._ledger.reply(call, invoke.stopped(call))
        elif self._claim(call):
            self.worn = True
            self._ledger.reply(call, invoke.stopped(call, "; it did not end when it was cancelled, and was abandoned"))
            self._post(self._abandon, call)

    def close(self, grace: float) -> None:
        self._ledger.shut(grace)
        with self._ledger.lock:
            waiting, self._waiting = self._waiting, deque()
        self._ledger.turn_away(waiting)
        if self._ledger.wait():
            return
        for call in tuple(self._running):
            self.stop(call, CallEnd.UNSTARTED)
        if not self._ledger.wait(LAST_CHANCE):
            for call in tuple(self._running):
                self.kill(call)
            self._ledger.wait(float("inf"))

    # --- in the loop's thread

    def _start(self) -> None:
        """Start what waits, as far as there are slots: called once for many calls."""
        with self._ledger.lock:
            self._woken = False
            room = min(self.slots - len(self._running), len(self._waiting))
            calls = [self._waiting.popleft() for _ in range(room)]
            self._running.update(calls)
        for call in calls:
            # The class itself is quicker than loop.create_task, and never eager. An empty context, because a call
            # may be started by another one's end.
            call.handle = asyncio.Task(self._run(call), loop=self._loop, name=call.lease.job.id, context=Context())

    async def _run(self, call: Call) -> None:
        if call not in self._running:
            return  # killed by another thread before its first step
        lease, task = call.lease, call.task
        job = lease.job
        running.set(Running(job.id, job.task, job.queue, lease.attempt, self._job_channel, job.headers))
        try:
            args, kwargs = task.arguments.decode(job.payload)
        except BaseException as error:  # a model's validators are anybody's code
            self._end(call, invoke.refused(error))
            return
        call.started = monotonic()
        try:
            if task.needs:
                kwargs.update(await self._resources.aget(task.needs))
            value = await task.body(*args, **kwargs)
        except BaseException as error:  # SystemExit in a task must not end the loop
            reply = invoke.raised(task, error)
        else:
            reply = invoke.returned(task, value)
        self._end(call, reply)

    def _end(self, call: Call, reply: Reply) -> None:
        if not self._claim(call):
            return  # abandoned: it has replied
        if call.stopping is not None:
            reply = invoke.told(call, reply)
        call.handle = None
        self._ledger.reply(call, reply)
        if self._waiting and not self._woken:
            self._woken = True
            self._loop.call_soon(self._start)

    def _cancel(self, call: Call) -> None:
        if call not in self._running:
            return
        call.handle.cancel()
        if not call.started:  # a task that is cancelled before its first step never gets to its reply
            self._end(call, invoke.stopped(call))

    def _abandon(self, call: Call) -> None:
        if call.handle is not None and not call.handle.done():
            self._abandoned.append(call.handle)
            call.handle.cancel()
        self._start()

    # --- in any thread

    def _withdraw(self, call: Call) -> bool:
        """Whether the call was waiting; it waits no more."""
        with self._ledger.lock:
            try:
                self._waiting.remove(call)
            except ValueError:
                return False
            return True

    def _claim(self, call: Call) -> bool:
        try:
            self._running.remove(call)  # one operation, so that no lock is needed
        except KeyError:
            return False
        return True

    def _post(self, callback: Callable[..., None], *args: Any) -> bool:
        try:
            self._loop.call_soon_threadsafe(callback, *args)
        except RuntimeError:
            return False  # the loop was closed
        return True
