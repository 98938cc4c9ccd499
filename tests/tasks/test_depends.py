"""What tasks are given by the worker: opened once, closed at its end, on every executor."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest

from longboat import ConfigError, Depends, JobFailed, Longboat
from tests.apps import depends_tasks


def test_async_and_plain_providers_are_opened_once_and_closed() -> None:
    seen: list[str] = []
    app = Longboat("memory://")

    async def pool() -> AsyncIterator[str]:
        seen.append("pool opened")
        await asyncio.sleep(0.01)
        yield "pool"
        seen.append("pool closed")

    def settings() -> Iterator[dict[str, int]]:
        seen.append("settings opened")
        yield {"x": 1}
        seen.append("settings closed")

    async def answer() -> int:
        seen.append("answer")
        return 42

    @app.task(name="a")
    async def a(n: int, pool: Any = Depends(pool), number: int = Depends(answer)) -> str:
        return f"{n} {pool} {number}"

    @app.task(name="b")
    def b(n: int, /, *rest: int, given: Any = Depends(settings), flag: bool = False) -> list[Any]:
        return [n, rest, given, flag]

    with app, app.worker():
        assert [job.result(10) for job in a.enqueue_many([(n,) for n in range(5)])] == [f"{n} pool 42" for n in range(5)]
        assert b.enqueue(1, 2, 3, flag=True).result(10) == [1, [2, 3], {"x": 1}, True]
        assert b.enqueue(1).result(10) == [1, [], {"x": 1}, False]
    assert sorted(seen) == ["answer", "pool closed", "pool opened", "settings closed", "settings opened"]
    with pytest.raises(TypeError, match="pool"):
        a.enqueue(1, pool="mine")


def test_a_lifespan_is_open_before_the_first_job_and_until_after_the_last() -> None:
    seen: list[str] = []
    app = Longboat("memory://")

    @app.lifespan
    async def life() -> AsyncIterator[int]:
        seen.append("opened")
        yield 7
        seen.append("closed")

    @app.task(name="use")
    async def use(given: int = Depends(life)) -> int:
        seen.append("used")
        await asyncio.sleep(0.05)
        seen.append("left")
        return given

    async def main() -> None:
        async with app.worker():
            assert seen == ["opened"]
            assert await use.enqueue() == 7

    asyncio.run(main())
    assert seen == ["opened", "used", "left", "closed"]
    app.close()


def test_a_lifespan_that_fails_stops_the_worker_before_it_takes_a_job() -> None:
    app = Longboat("memory://")

    @app.lifespan
    def broken() -> Iterator[None]:
        raise RuntimeError("no pool")
        yield

    with app, pytest.raises(RuntimeError, match="no pool"), app.worker():
        raise AssertionError("it began")


def test_a_provider_that_fails_fails_the_attempt_and_is_tried_again() -> None:
    app, tries = Longboat("memory://"), []

    def shaky() -> int:
        tries.append(1)
        if len(tries) < 2:
            raise ConnectionError("not yet")
        return 5

    @app.task(name="t", retries=1, backoff=0.0)
    async def t(x: int = Depends(shaky)) -> int:
        return x

    @app.task(name="u")
    def u(x: int = Depends(lambda: 1 / 0)) -> int:
        return x

    with app, app.worker():
        assert t.enqueue().result(10) == 5
        with pytest.raises(JobFailed, match="ZeroDivisionError"):
            u.enqueue().result(10)


def test_children_open_their_own(tmp_path: Path) -> None:
    with depends_tasks.app as app, app.worker(processes=1):
        pids = {depends_tasks.where.enqueue(str(tmp_path)).result(20) for _ in range(3)}
    assert len(pids) == 1
    assert (tmp_path / "closed").read_text() == str(pids.pop())


def test_what_cannot_be_given_is_refused() -> None:
    app = Longboat("memory://")

    async def later() -> int:
        return 1

    with pytest.raises(ConfigError, match="must not be async"):

        @app.task(name="t")
        def t(x: int = Depends(later)) -> None: ...

    with pytest.raises(ConfigError, match="needs a function"):

        @app.task(name="u")
        def u(x: int = Depends(7)) -> None: ...  # type: ignore[arg-type]  # wrong on purpose

    with pytest.raises(ConfigError, match="cannot be evaluated"):

        @app.task(name="v")
        def v(x: Annotated[int, Depends(later)] = 0) -> None: ...


def five() -> int:
    return 5


def test_annotated() -> None:
    with Longboat("memory://") as app, app.worker():

        @app.task(name="t")
        def t(x: int, given: Annotated[int, Depends(five)] = 0) -> int:
            return x + given

        assert t.enqueue(1).result(10) == 6
