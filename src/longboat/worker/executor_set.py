"""ExecutorSet: the executors of one worker, each made when a task first needs it."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from longboat.executors.base import Executor, watched
from longboat.executors.contract import Call, Owner
from longboat.executors.wire import ChildSettings
from longboat.tasks.current import JobChannel
from longboat.tasks.depends import Resources
from longboat.worker.options import WorkerOptions

if TYPE_CHECKING:
    from longboat.executors.asyncio import AsyncioExecutor
    from longboat.executors.timed_calls import TimedCalls


class ExecutorSet:
    """By the name that tasks give their executor: async, thread or process."""

    def __init__(
        self,
        options: WorkerOptions,
        owner: Owner,
        job_channel: JobChannel,
        resources: Resources,
        modules: Sequence[str],
    ) -> None:
        """`modules`: what child processes import first."""
        self._options = options
        self._owner = owner
        self._job_channel = job_channel
        self._resources = resources
        self._modules = modules
        self._lock = threading.Lock()
        self.loop: asyncio.AbstractEventLoop | None = None
        """Where coroutines run; set before the first is submitted."""
        self.timed: TimedCalls | None = None
        """Where calls in threads are shown to a supervisor; set then, too."""
        self.coroutines: AsyncioExecutor | None = None
        """The one on that loop, once it was needed."""
        self.by_name: dict[str, Executor] = {}
        """Never changed, only replaced: any thread may go through it."""

    def get(self, name: str) -> Executor:
        if name not in self.by_name:
            with self._lock:
                if name not in self.by_name:
                    self.by_name = {**self.by_name, name: self._make(name)}
        return self.by_name[name]

    def of(self, call: Call) -> Executor:
        """The executor that the call's task needs."""
        return self.get(call.task.settings.executor)

    def close(self, grace: float) -> None:
        """Close all at the same time. A second call from another thread with a shorter grace shortens the wait."""
        closing = [watched("executors", partial(each.close, grace), self._owner.failed) for each in self.by_name.values()]
        for thread in closing:
            thread.start()
        for thread in closing:
            thread.join()

    @property
    def worn(self) -> str:
        """The task of a call that could not be stopped, if there is one."""
        return next((each.worn for each in self.by_name.values() if each.worn), "")

    def slots(self) -> dict[str, int]:
        return {name: each.slots for name, each in self.by_name.items()}

    def in_use(self) -> dict[str, int]:
        """Slots in use, by executor."""
        return {name: min(each.slots, each.slots - each.free()) for name, each in self.by_name.items()}

    def used(self) -> int:
        """Slots in use."""
        return sum(self.in_use().values())

    def busy(self) -> float:
        """The part of its slots in use, of the executor that is busiest."""
        return max((1 - max(0, each.free()) / each.slots for each in self.by_name.values()), default=0.0)

    def _make(self, name: str) -> Executor:
        options = self._options
        if name == "thread":
            from longboat.executors.threads import ThreadExecutor

            made = ThreadExecutor(options.threads, self._owner, self._job_channel, self._resources)
            made.timed = self.timed
            return made
        if name == "process":
            from longboat.executors.processes import ProcessExecutor

            try:
                here = os.getcwd()
            except FileNotFoundError:  # somebody has deleted it
                here = ""
            level, worker, calls = logging.getLogger().level, self._job_channel.worker, options.child_calls
            settings = ChildSettings(options.max_memory, tuple(self._modules), level, here, worker, calls)
            return ProcessExecutor(options.processes, self._owner, settings, self._job_channel)
        from longboat.executors.asyncio import AsyncioExecutor

        assert self.loop is not None
        self.coroutines = AsyncioExecutor(options.concurrency, self._owner, self.loop, self._job_channel, self._resources)
        return self.coroutines
