"""Doors: how tasks reach the client, those whose code is here and those that are known by name alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import chain
from typing import Any

from longboat.client.client import Client
from longboat.core.job import DEFAULT_KEEP, DEFAULT_QUEUE, Job
from longboat.errors import ConfigError
from longboat.tasks.arguments import unnamed
from longboat.tasks.flow import Ends, Flow
from longboat.tasks.handle import Handle
from longboat.tasks.limits import Unique
from longboat.tasks.middleware import Middleware, Outgoing, Pass, enqueueing
from longboat.tasks.task import Task, settings
from longboat.tasks.template import template

NOTHING_TO_PASS: AbstractContextManager[Pass] = nullcontext(lambda jobs: jobs)


class ClientEnqueuer:
    """How tasks reach the client: late, and the one of the process they are in; past the middlewares, if there are any."""

    def __init__(self, reach: Callable[[], Client], middlewares: Sequence[Middleware]) -> None:
        self._reach = reach
        self._middlewares = middlewares

    def enqueue(self, job: Job, kind: Any) -> Handle[Any]:
        with self._around([job]) as let_pass:
            let_pass([job])
            return self._reach().enqueue(job, kind)

    async def aenqueue(self, job: Job, kind: Any) -> Handle[Any]:
        with self._around([job]) as let_pass:
            let_pass([job])
            return await self._reach().aenqueue(job, kind)

    def enqueue_many(self, batches: Iterable[list[Job]], kind: Any, progress: bool, total: int | None) -> list[Handle[Any]]:
        with self._around_all(batches) as passed:
            return self._reach().enqueue_many(passed, kind, progress, total)

    async def aenqueue_many(
        self, batches: Iterable[list[Job]], kind: Any, progress: bool, total: int | None
    ) -> list[Handle[Any]]:
        import asyncio

        if not self._middlewares:
            return await self._reach().aenqueue_many(batches, kind, progress, total)
        return await asyncio.to_thread(self.enqueue_many, batches, kind, progress, total)

    def enqueue_unique(self, job: Job, kind: Any, rule: Unique, key: str) -> Handle[Any]:
        with self._around([job]) as let_pass:
            let_pass([job])
            return self._reach().enqueue_unique(job, kind, rule, key)

    async def aenqueue_unique(self, job: Job, kind: Any, rule: Unique, key: str) -> Handle[Any]:
        with self._around([job]) as let_pass:
            let_pass([job])
            return await self._reach().aenqueue_unique(job, kind, rule, key)

    def enqueue_flow(self, flow_id: str, jobs: list[Job], ends: Ends, kinds: list[Any]) -> Flow[Any]:
        with self._around(jobs, batch=True) as let_pass:
            return self._reach().flows.enqueue(flow_id, let_pass(jobs), ends, kinds)

    async def aenqueue_flow(self, flow_id: str, jobs: list[Job], ends: Ends, kinds: list[Any]) -> Flow[Any]:
        import asyncio

        return await asyncio.to_thread(self.enqueue_flow, flow_id, jobs, ends, kinds)

    def enqueue_child(self, job: Job, kind: Any, parent: str) -> Handle[Any]:
        with self._around([job]) as let_pass:
            let_pass([job])
            return self._reach().enqueue_child(job, kind, parent)

    def enqueue_within(self, connection: object, batches: Iterable[list[Job]], kind: Any) -> list[Handle[Any]]:
        with self._around_all(batches) as passed:
            return self._reach().enqueue_within(connection, passed, kind)

    def _around(self, jobs: Sequence[Job], *, batch: bool = False) -> AbstractContextManager[Pass]:
        if not self._middlewares or not jobs:
            return NOTHING_TO_PASS
        return enqueueing(self._middlewares, Outgoing(jobs, batch=batch))

    @contextmanager
    def _around_all(self, batches: Iterable[list[Job]]) -> Iterator[Iterable[list[Job]]]:
        """The batches, to be made one by one as they are asked for; all of one task and queue."""
        if not self._middlewares:
            yield batches
            return
        rest = iter(batches)
        first = next(rest, [])
        with self._around(first[:1], batch=True) as let_pass:
            yield map(let_pass, chain([first] if first else [], rest))


class _Unnamed:
    """Arguments of a task whose signature is not known here."""

    def __init__(self, task: str) -> None:
        self._task = task

    def encode(self, args: Sequence[Any], kwargs: Any) -> bytes:
        return unnamed(args, kwargs, self._task)


class Named(Task[..., Any]):
    """A task known by its name alone."""

    def __init__(self, name: str, enqueuer: ClientEnqueuer) -> None:
        def elsewhere(*_: Any, **__: Any) -> Any:
            raise ConfigError(f"the code of task {name!r} is not here: it can be enqueued, not called")

        chosen = settings(elsewhere, executor=None, retries=0, backoff=0.0, retry_on=(), timeout=None)
        super().__init__(elsewhere, name, chosen, template(DEFAULT_QUEUE, 0, None, DEFAULT_KEEP), enqueuer)
        self.arguments = _Unnamed(name)  # type: ignore[assignment]  # the one method of it that the calling side uses
