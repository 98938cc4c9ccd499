"""Doors: how tasks reach the client, those whose code is here and those that are known by name alone."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any

from longboat.arguments import unnamed
from longboat.client import Client
from longboat.errors import ConfigError
from longboat.flow import Ends, Flow
from longboat.handle import Handle
from longboat.job import DEFAULT_KEEP, DEFAULT_QUEUE, Job
from longboat.middleware import Middleware
from longboat.rules import Unique
from longboat.task import Task, settings
from longboat.template import template


class ClientDoor:
    """How tasks reach the client: late, and the one of the process they are in; past the middlewares, if there are any."""

    def __init__(self, reach: Callable[[], Client], middlewares: Sequence[Middleware]) -> None:
        self._reach = reach
        self._middlewares = middlewares

    def enqueue(self, job: Job, kind: Any) -> Handle[Any]:
        return self._reach().enqueue(self._past(job), kind)

    def aenqueue(self, job: Job, kind: Any) -> Coroutine[Any, Any, Handle[Any]]:
        return self._reach().aenqueue(self._past(job), kind)

    def enqueue_many(self, batches: Iterable[list[Job]], kind: Any, progress: bool, total: int | None) -> list[Handle[Any]]:
        return self._reach().enqueue_many(self._all_past(batches), kind, progress, total)

    async def aenqueue_many(
        self, batches: Iterable[list[Job]], kind: Any, progress: bool, total: int | None
    ) -> list[Handle[Any]]:
        return await self._reach().aenqueue_many(self._all_past(batches), kind, progress, total)

    def enqueue_unique(self, job: Job, kind: Any, rule: Unique, key: str) -> Handle[Any]:
        return self._reach().enqueue_unique(self._past(job), kind, rule, key)

    async def aenqueue_unique(self, job: Job, kind: Any, rule: Unique, key: str) -> Handle[Any]:
        return await self._reach().aenqueue_unique(self._past(job), kind, rule, key)

    def enqueue_flow(self, flow_id: str, jobs: list[Job], ends: Ends, kinds: list[Any]) -> Flow[Any]:
        return self._reach().flows.enqueue(flow_id, list(map(self._past, jobs)), ends, kinds)

    async def aenqueue_flow(self, flow_id: str, jobs: list[Job], ends: Ends, kinds: list[Any]) -> Flow[Any]:
        import asyncio

        return await asyncio.to_thread(self.enqueue_flow, flow_id, jobs, ends, kinds)

    def enqueue_child(self, job: Job, kind: Any, parent: str) -> Handle[Any]:
        return self._reach().enqueue_child(self._past(job), kind, parent)

    def enqueue_within(self, connection: object, batches: Iterable[list[Job]], kind: Any) -> list[Handle[Any]]:
        return self._reach().enqueue_within(connection, self._all_past(batches), kind)

    def _past(self, job: Job) -> Job:
        for middleware in self._middlewares:
            middleware.before_enqueue(job)
        return job

    def _all_past(self, batches: Iterable[list[Job]]) -> Iterable[list[Job]]:
        return (list(map(self._past, batch)) for batch in batches) if self._middlewares else batches


class _Unnamed:
    """Arguments of a task whose signature is not known here."""

    def __init__(self, task: str) -> None:
        self._task = task

    def encode(self, args: Sequence[Any], kwargs: Any) -> bytes:
        return unnamed(args, kwargs, self._task)


class Named(Task[..., Any]):
    """A task known by its name alone."""

    def __init__(self, name: str, door: ClientDoor) -> None:
        def elsewhere(*_: Any, **__: Any) -> Any:
            raise ConfigError(f"the code of task {name!r} is not here: it can be enqueued, not called")

        chosen = settings(elsewhere, executor=None, retries=0, backoff=0.0, retry_on=(), timeout=None)
        super().__init__(elsewhere, name, chosen, template(DEFAULT_QUEUE, 0, None, DEFAULT_KEEP), door)
        self.arguments = _Unnamed(name)  # type: ignore[assignment]  # the one method of it that the calling side uses
