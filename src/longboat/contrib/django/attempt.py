"""An attempt at a job, as Django sees it: its TaskResult, its context, its signals. It runs where the function runs."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from longboat.contrib.django import app, signals
from longboat.contrib.django.compat import (
    TaskContext,
    TaskResultDoesNotExist,
    TaskResultStatus,
    normalize_json,
    task_finished,
    task_started,
)
from longboat.contrib.django.lookup import look
from longboat.contrib.django.results import STARTED, error_of, fresh
from longboat.contrib.django.sent import beside, encoded, enqueued_at, shown
from longboat.core.clock import SYSTEM
from longboat.errors import LongboatError
from longboat.executors import invoke
from longboat.tasks.current import Running, current
from longboat.tasks.task import settings_of


def body(task: Any, sender: type, *, is_async: bool) -> Callable[..., Any]:
    """What workers run of a task of Django: its function, between the signals."""

    def run(*args: Any, **kwargs: Any) -> bytes:
        attempt = Attempt(task, sender)
        attempt.begin(args, kwargs)
        attempt.send(task_started)
        try:
            data = attempt.succeeded(task.func(*attempt.context, *args, **kwargs))
        except BaseException as error:
            if attempt.failed(error):
                attempt.send(task_finished)  # within the handler: the receiver that logs finds the traceback there
            raise
        if not attempt.stopped or attempt.counts():
            attempt.send(task_finished)
        return data

    async def arun(*args: Any, **kwargs: Any) -> bytes:
        attempt = Attempt(task, sender)
        if attempt.here.attempt == 1:
            attempt.begin(args, kwargs)
        else:
            await asyncio.to_thread(attempt.begin, args, kwargs)
        await attempt.asend(task_started)
        try:
            data = attempt.succeeded(await task.func(*attempt.context, *args, **kwargs))
        except BaseException as error:
            attempt.cancelled = asked_to_stop()
            if await asyncio.to_thread(attempt.failed, error):
                await attempt.asend(task_finished)
            raise
        attempt.cancelled = asked_to_stop()
        if not attempt.stopped or await asyncio.to_thread(attempt.counts):
            await attempt.asend(task_finished)
        return data

    return arun if is_async else run


def asked_to_stop() -> bool:
    """Whether the worker has cancelled this coroutine."""
    me = asyncio.current_task()
    return me is not None and me.cancelling() > 0


class Attempt:
    """One call of `task`'s function. The methods without "a" may be called from any thread."""

    def __init__(self, task: Any, sender: type) -> None:
        self.here: Running = current()
        self.result: Any = None
        self.cancelled = False
        self._task = task
        self._sender = sender
        self._began = SYSTEM.now()

    def begin(self, args: Any, kwargs: Any) -> None:
        """Make the TaskResult of a job that runs; with its former attempts, if there were any."""
        here = self.here
        said = beside(here.headers)
        alias = said.backend or self._task.backend
        if here.attempt > 1:
            with contextlib.suppress(LongboatError, TaskResultDoesNotExist):  # a child process reaches no broker in memory
                self.result = look(alias, here.id)
        if self.result is None:
            self.result = self._fresh(alias, args, kwargs)
        result = self.result
        del result.worker_ids[here.attempt - 1 :]
        result.worker_ids.extend([""] * (here.attempt - 1 - len(result.worker_ids)) + [here.worker])
        self._set(status=TaskResultStatus.RUNNING, last_attempted_at=shown(self._began), finished_at=None)

    def _fresh(self, alias: str, args: Any, kwargs: Any) -> Any:
        here, said, task = self.here, beside(self.here.headers), self._task
        priority = task.priority if said.priority is None else said.priority
        changes = {"backend": alias, "queue_name": here.queue, "priority": priority, "run_after": said.run_after}
        if changed := {name: value for name, value in changes.items() if value != getattr(task, name)}:
            task = replace(task, **changed)
        its = {"id": here.id, "enqueued_at": enqueued_at(here.id), "started_at": shown(self._began)}
        return fresh(task, alias, args, kwargs, TaskResultStatus.RUNNING, **its)

    @property
    def context(self) -> tuple[Any, ...]:
        """What the function gets before its arguments."""
        return (TaskContext(task_result=self.result),) if self._task.takes_context else ()

    @property
    def stopped(self) -> bool:
        """Whether the worker has asked the function to end: then it says itself how the job ends (see elsewhere.py)."""
        return self.cancelled or self.here.stopping

    def succeeded(self, value: Any) -> bytes:
        """The job's result. Raises for a value that cannot be stored."""
        returned = normalize_json(value)
        data = encoded(returned, self.here.worker)
        self._set(status=TaskResultStatus.SUCCESSFUL, finished_at=shown(SYSTEM.now()), _return_value=returned)
        return data

    def counts(self) -> bool:
        """Whether a function that returned although it was asked to end was in time."""
        with contextlib.suppress(LongboatError, TaskResultDoesNotExist):
            return bool(look(self.result.backend, self.here.id).status == TaskResultStatus.RUNNING)
        return False

    def failed(self, error: BaseException) -> bool:
        """Note why. Whether the job ends with this: if it is tried again, it is kept when this attempt began."""
        failure = invoke.failure(error)
        self.result.errors.append(error_of(failure))
        if self.stopped:
            return False
        task = app.registry.tasks[self.here.task]
        policy = settings_of(self.here, task.settings).policy
        if invoke.again(task, error) and policy.delay(self.here.attempt, 0.0) is not None:
            with contextlib.suppress(LongboatError):
                self.here.step(STARTED.format(self.here.attempt), lambda: self._began)
            return False
        self._set(status=TaskResultStatus.FAILED, finished_at=shown(SYSTEM.now()))
        return True

    def send(self, signal: Any) -> None:
        signals.send(signal, self._sender, self.result)

    async def asend(self, signal: Any) -> None:
        await signals.asend(signal, self._sender, self.result)

    def _set(self, **fields: Any) -> None:
        for name, value in fields.items():
            object.__setattr__(self.result, name, value)
