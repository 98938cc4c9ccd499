"""The backend of TASKS: Django's tasks as Longboat's jobs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

from asgiref.sync import sync_to_async

from longboat.contrib.django import app, commit, elsewhere, signals
from longboat.contrib.django.checks import problems
from longboat.contrib.django.compat import BaseTaskBackend, task_enqueued
from longboat.contrib.django.declared import declare
from longboat.contrib.django.enqueue_call import EnqueueCall
from longboat.contrib.django.lookup import look
from longboat.contrib.django.task import LongboatTask, moment
from longboat.tasks.task import Task

__all__ = ["LongboatBackend", "LongboatTask"]


class LongboatBackend(BaseTaskBackend):  # type: ignore[misc]  # Django has no types
    """`TASKS = {"default": {"BACKEND": "longboat.contrib.django.LongboatBackend", "QUEUES": […], "OPTIONS": {…}}}`.

    OPTIONS: `on_commit` (True): a job enqueued within a transaction runs after its commit or never; and options for all
    tasks of this backend, such as `retries`, `timeout`, `keep_result`. The broker is that of the project's Longboat app.
    """

    task_class = LongboatTask
    supports_defer = True
    supports_async_task = True
    supports_get_result = True
    supports_priority = True

    def __init__(self, alias: str, params: Mapping[str, Any]) -> None:
        super().__init__(alias, params)
        self.on_commit: bool = self.options.get("on_commit", True)
        self.usual = {name: value for name, value in self.options.items() if name != "on_commit"}
        elsewhere.listen()

    def validate_task(self, task: Any) -> None:
        """Raises InvalidTask, also for options that make no sense."""
        if isinstance(task.run_after, timedelta):  # which Django's own check cannot read
            moment(task.run_after)
            replace(task, run_after=None)
            return
        super().validate_task(task)
        self.longboat_task(task)

    def longboat_task(self, task: Any) -> Task[..., Any]:
        """The Longboat task that a task of Django is. Raises InvalidTask for options that make no sense."""
        return declare(task, type(self), self.usual).longboat_task

    def enqueue(self, task: Any, args: Any, kwargs: Any) -> Any:
        """Raises InvalidTask, TypeError for arguments that JSON cannot hold or the function does not take, and
        BrokerUnavailable or BrokerFull: the job is not stored. With `on_commit`, the commit raises these two."""
        call = self._call(task, args, kwargs)
        held = commit.transactions() if self.on_commit else []
        if held:
            self._enqueue_within(call, held)
        else:
            self._enqueue(call)
        return call.result

    async def aenqueue(self, task: Any, args: Any, kwargs: Any) -> Any:
        """As `enqueue`, without blocking the event loop."""
        call = self._call(task, args, kwargs)
        held = await sync_to_async(commit.transactions)() if self.on_commit else []
        if held:
            await sync_to_async(self._enqueue_within)(call, held)
        else:
            call.put_off()
            if call.stored((await app.client.asend(call.outgoing))[0]):
                await signals.asend(task_enqueued, type(self), call.result)
        return call.result

    def get_result(self, result_id: str) -> Any:
        """Of a job that waits for a commit of this process too; the others know nothing of it yet.

        Raises TaskResultDoesNotExist, also for a job that is no longer kept, and BrokerUnavailable.
        """
        return commit.waiting(result_id) or look(self.alias, result_id)

    async def aget_result(self, result_id: str) -> Any:
        """As `get_result`, without blocking the event loop."""
        return await sync_to_async(self.get_result, thread_sensitive=False)(result_id)

    def check(self, **_: Any) -> list[Any]:
        return problems(self.alias, self.options)

    def _call(self, task: Any, args: Any, kwargs: Any) -> EnqueueCall:
        self.validate_task(task)
        declared = declare(task, type(self), self.usual)
        if isinstance(task.run_after, timedelta):
            task = replace(task, run_after=moment(task.run_after))
        return EnqueueCall(declared, task, self.alias, args, kwargs)

    def _enqueue(self, call: EnqueueCall) -> None:
        call.put_off()
        if call.stored(app.client.send(call.outgoing)[0]):
            signals.send(task_enqueued, type(self), call.result)

    def _enqueue_within(self, call: EnqueueCall, held: Sequence[Any]) -> None:
        connection = commit.own(held)
        if connection is None:
            commit.after(held, call.result, partial(self._enqueue, call))
            return
        call.outgoing.connection = connection
        call.put_off()
        if call.stored(app.client.send(call.outgoing)[0]):
            commit.after([connection], call.result, partial(signals.send, task_enqueued, type(self), call.result))
