"""In the place of Django's two backends in its tests: each is Longboat's, with what these tests ask for beside."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from longboat.contrib.django import LongboatBackend, app
from longboat.core.job import State
from longboat.errors import ResultError


class DummyBackend(LongboatBackend):  # type: ignore[misc]  # Django has no types
    """No worker runs: its tests look at what was enqueued."""

    @property
    def results(self) -> list[Any]:
        views = [*app.broker.inspector.jobs(State.READY).jobs, *app.broker.inspector.jobs(State.SCHEDULED).jobs]
        return [self.get_result(view.id) for view in views]

    def clear(self) -> None:
        app.close()  # and with it the store in memory


class ImmediateBackend(LongboatBackend):  # type: ignore[misc]  # Django has no types
    """A worker has run the job before the call returns."""

    def enqueue(self, task: Any, args: Any, kwargs: Any) -> Any:
        return _ended(super().enqueue(task, args, kwargs))

    async def aenqueue(self, task: Any, args: Any, kwargs: Any) -> Any:
        return await asyncio.to_thread(_ended, await super().aenqueue(task, args, kwargs))


def _ended(result: Any) -> Any:
    with app.worker(), contextlib.suppress(ResultError):
        app.job(result.id).result("30s")
    result.refresh()
    return result
