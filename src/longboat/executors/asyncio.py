"""AsyncioExecutor: coroutines, each a task of its own in a loop that runs in another thread."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import deque
from collections.abc import Callable, Collection, Sequence
from contextvars import Context
from time import monotonic
from typing import Any

from longboat.executors import invoke, stacks
from longboat.executors.base import Executor
from longboat.executors.contract import Call, CallEnd, Owner, Reply
from longboat.tasks.current import JobChannel, Running, running
from longboat.tasks.depends import Resources


class AsyncioExecutor(Executor):
    """Runs `async def` tasks on `loop`. Replies come from the loop's thread, or from whoever stops, kills or closes."""

    _last_chance = 0.25

    def __init__(
        self,
        slots: int,
        owner: Owner,
        loop: asyncio.AbstractEventLoop,
        job_channel: JobChannel | None = None,
        resources: Resources | None = None,
    ) -> None:
        super().__init__(slots, owner)
        self._job_channel = job_channel
        self._resources = resources or Resources()
        self.loop = loop
        self._waiting: deque[Call] = deque()  # pyright: ignore[reportIncompatibleVariableOverride]  # one of the two
        self._running: set[Call] = set()
        self._woken = False
        self._abandoned: list[asyncio.Task[None]] = []
        """Held because a loop holds its tasks by weak references only."""
        self.stuck = ""
        """The stack of the loop's thread, while the loop is blocked."""
        self.blocker: Call | None = None
        """The call that blocks it, if it is known."""

    def submit(self, calls: Sequence[Call]) -> None:
        super().submit(calls)
        # Outside the lock, which the loop's thread takes as soon as it is woken.
        if self._waiting and not self._woken:
            self._woken = True
            if not self._post(self._start):
                self._woken = False
                self.turn_away([call for call in calls if self._withdraw(call)])

    def stack(self, call: Call) -> str:
        task = call.handle
        return stacks.of_coroutine(task.get_coro(), __file__) if isinstance(task, asyncio.Task) else ""

    # --- in the loop's thread

    def _start(self) -> None:
        """Start what waits, as far as there are slots: called once for many calls."""
        with self.lock:
            self._woken = False
            room = min(self.slots - len(self._running), len(self._waiting))
            calls = [self._waiting.popleft() for _ in range(room)]
            self._running.update(calls)
        for call in calls:
            # The class itself is quicker than loop.create_task, and never eager. An empty context, because a call
            # may be started by another one's end.
            call.handle = asyncio.Task(self._run(call), loop=self.loop, name=call.lease.job.id, context=Context())

    async def _run(self, call: Call) -> None:
        lease, task = call.lease, call.task
        job = lease.job
        running.set(Running(job.id, job.task, job.queue, lease.attempt, self._job_channel, job.headers))
        try:
            args, kwargs = task.arguments.decode(job.payload)
        except BaseException as error:  # a model's validators are anybody's code
            self._end(call, invoke.refused(error))
            return
        call.started = monotonic()
        if call not in self._running:
            return  # killed, or handed back, by another thread before its function began
        try:
            if task.needs:
                kwargs.update(await self._resources.aget(task.needs))
            value = await task.body(*args, **kwargs)
        except BaseException as error:  # SystemExit in a task must not end the loop
            reply = invoke.raised(task, error)
        else:
            reply = invoke.returned(task, value)
        if self.copied:
            os._exit(0)
        self._end(call, reply)

    def _end(self, call: Call, reply: Reply) -> None:
        if not self._claim(call):
            return  # abandoned: it has replied
        if call.stopping is not None:
            reply = invoke.told(call, reply)
        call.handle = None
        self.reply(call, reply)
        if self._waiting and not self._woken:
            self._woken = True
            self.loop.call_soon(self._guarded, self._start)

    def after_fork(self) -> None:
        super().after_fork()
        with contextlib.suppress(RuntimeError):  # the loop was closed
            self.loop.call_soon(os._exit, 0)  # if this came from a task that awaits something now

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

    def _guarded(self, callback: Callable[..., None], *args: Any) -> None:
        """Where a callback fails, the loop would only log it, and calls would never reply."""
        try:
            callback(*args)
        except BaseException as error:
            self._owner.failed("event loop", error)

    # --- in any thread

    def _begin(self, calls: Sequence[Call]) -> None:
        self._waiting.extend(calls)

    def _ask_to_stop(self, call: Call) -> None:
        self._post(self._cancel, call)

    def _cut_off(self, call: Call) -> None:
        if self.stuck and call.stopping is CallEnd.TIMEOUT and call is not self.blocker:
            if not self.closed:
                return  # its time was another's: `give_up` hands it back
            call.stopping = CallEnd.UNSTARTED
        self._let_go(call)

    def _let_go(self, call: Call) -> None:
        if self._claim(call):
            self.worn = call.task.name
            if call is self.blocker and call.stopping is CallEnd.TIMEOUT:
                self.reply(call, invoke.blocked(self.stuck))
            else:
                self.reply(call, invoke.stopped(call, "; it did not end when it was cancelled, and was abandoned"))
            self._post(self._abandon, call)

    # --- while the loop is blocked: see worker/loop_watch.py

    def running(self) -> tuple[Call, ...]:
        """The calls that have a slot."""
        return tuple(self._running)

    def is_blocked(self, blocker: Call | None, stack: str) -> None:
        """Have those that have not begun run elsewhere."""
        self.blocker, self.stuck = blocker, stack or "in no Python code"
        self.turn_away([call for call in tuple(self._waiting) if self._withdraw(call)])
        unbegun = [call for call in tuple(self._running) if not call.started and call is not blocker]
        self.turn_away([call for call in unbegun if self._claim(call)])

    def is_free(self) -> None:
        self.blocker, self.stuck = None, ""

    def give_up(self) -> None:
        """The one that blocks the loop has timed out, and all others run elsewhere."""
        self.worn = self.blocker.task.name if self.blocker else "unknown"
        for call in tuple(self._running):
            if call.stopping is not CallEnd.CANCELLED:
                call.stopping = CallEnd.TIMEOUT if call is self.blocker else CallEnd.UNSTARTED
            self._let_go(call)

    def _in_slots(self) -> Collection[Call]:
        return self._running

    def _claim(self, call: Call) -> bool:
        try:
            self._running.remove(call)  # one operation, so that no lock is needed
        except KeyError:
            return False
        return True

    def _post(self, callback: Callable[..., None], *args: Any) -> bool:
        try:
            self.loop.call_soon_threadsafe(self._guarded, callback, *args)
        except RuntimeError:
            return False  # the loop was closed
        return True
