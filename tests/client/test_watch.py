"""Handle.watch and Handle.awatch: what becomes of a job, as it becomes so."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from longboat import JobNotFound, Longboat, WouldBlock, current
from longboat.core.job import State
from longboat.tasks.handle import Handle, Progress, Update
from tests.apps import inside_tasks

GO = threading.Event()


@pytest.fixture(params=["memory://", "sqlite:///{folder}/jobs.db"])
def app(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Longboat]:
    GO.clear()
    with Longboat(request.param.format(folder=tmp_path)) as made:
        yield made


def started(app: Longboat) -> Handle[None]:
    @app.task(name="count")
    def count(fails: bool) -> None:
        current().progress(1, 2, "half")
        assert GO.wait(30)
        if fails:
            raise ValueError("no more")

    return count.enqueue(True)


def seen(updates: list[Update]) -> None:
    """Each differs from the one before; the progress was seen, and the end, once."""
    assert all(one != other for one, other in itertools.pairwise(updates))
    assert [update.state.ended for update in updates] == [False] * (len(updates) - 1) + [True]
    assert Update(State.RUNNING, 1.0, 2.0, "half") in updates
    assert (updates[-1].state, updates[-1].error) == (State.DEAD, "no more")


def test_a_job_is_watched_until_it_ends(app: Longboat) -> None:
    job, updates = started(app), []
    with app.worker():
        for update in job.watch():
            updates.append(update)
            if update.text:
                GO.set()
    seen(updates)
    assert list(job.watch()) == updates[-1:], "of a job that has ended, only how"


def test_a_job_is_watched_in_a_coroutine(app: Longboat) -> None:
    async def main() -> list[Update]:
        job, updates = started(app), []
        async with app, app.worker():
            with pytest.raises(WouldBlock, match="awatch"):
                next(job.watch())
            async for update in job.awatch():
                updates.append(update)
                if update.text:
                    GO.set()
            return updates

    seen(asyncio.run(main()))


def test_a_job_that_is_not_there_is_told(app: Longboat) -> None:
    async def main() -> None:
        async for _ in app.job("nobody").awatch():
            raise AssertionError

    with pytest.raises(JobNotFound):
        next(app.job("nobody").watch())
    with pytest.raises(JobNotFound):
        asyncio.run(main())


def test_an_app_is_closed_at_the_end_of_async_with(app: Longboat) -> None:
    async def main() -> None:
        async with app as entered:
            assert entered is app
            first.append(app.client)

    first: list[object] = []
    asyncio.run(main())
    assert app.client is not first[0]


@pytest.mark.parametrize("executor", ["async", "thread", "process"])
def test_the_last_progress_is_there_as_soon_as_the_result(app: Longboat, executor: str) -> None:
    task: Any = (
        app.task(inside_tasks.areport)
        if executor == "async"
        else app.task(executor=cast("Any", executor))(inside_tasks.report)
    )

    def done(job: Handle[Any]) -> Progress:
        progress = job.progress()
        assert progress is not None
        return progress

    with app.worker(processes=1):
        for _ in range(5):
            jobs = [task.enqueue(20) for _ in range(20)]
            assert [job.result(20) or (done(job).done, done(job).total) for job in jobs] == [(20.0, 20.0)] * 20
        last = list(task.enqueue(3).watch())[-1]
        assert (last.state, last.done, last.total) == (State.SUCCEEDED, 3.0, 3.0)
