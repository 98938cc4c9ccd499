"""Nothing of ours blocks a caller's event loop, whatever the broker does: each asynchronous call, on each broker."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from longboat import Longboat, as_completed, gather
from longboat.core.job import new_id
from longboat.errors import ResultError
from tests.rigs.harnesses import _postgres_server, _rabbitmq_server, _redis_server
from tests.rigs.servers.manager import ManagerServer
from tests.rigs.servers.postgres import available as postgres_unavailable
from tests.rigs.servers.process import ServerProcess
from tests.rigs.servers.rabbitmq import available as rabbitmq_unavailable
from tests.rigs.servers.redis import available as redis_unavailable

pytestmark = pytest.mark.slow

BLOCKED = 1.5
"""Seconds after which the broker goes on, although the loop did not: within every broker's time limit."""
TURNS = 12
"""How often the loop turns while the broker stands still, 5 ms apart: enough to come to what a call does there."""


class Held:
    """A broker that can be made to stand still."""

    def __init__(self, url: str, freeze: Callable[[], None], thaw: Callable[[], None]) -> None:
        self.url = url
        self.freeze = freeze
        self.thaw = thaw


def server(made: ServerProcess, url: str) -> Held:
    return Held(url, made.freeze, made.thaw)


def sqlite(folder: Path) -> Held:
    """Another writer, which does not end."""
    db = sqlite3.connect(folder / "jobs.db", isolation_level=None, check_same_thread=False)
    return Held(f"sqlite:///{folder}/jobs.db", lambda: _run(db, "BEGIN IMMEDIATE"), lambda: _run(db, "ROLLBACK"))


def _run(db: sqlite3.Connection, sql: str) -> None:
    db.execute(sql)


@contextlib.contextmanager
def opened(kind: str, folder: Path) -> Iterator[Held]:
    if kind == "redis":
        yield server(redis := _redis_server(), f"{redis.url}?prefix={new_id()}")
    elif kind == "postgres":
        yield server(postgres := _postgres_server(), f"{postgres.url}?schema=s{new_id()}")
    elif kind.startswith("rabbitmq"):
        beside = f"&results=sqlite:///{folder}/store.db" if kind == "rabbitmq+store" else ""
        yield server(rabbitmq := _rabbitmq_server(), f"{rabbitmq.url}?prefix={new_id()}{beside}")
    elif kind == "manager":
        with ManagerServer(folder) as manager:
            yield server(manager, manager.url)
    else:
        yield sqlite(folder)


UNAVAILABLE = {
    "redis": redis_unavailable,
    "postgres": postgres_unavailable,
    "rabbitmq": rabbitmq_unavailable,
    "rabbitmq+store": rabbitmq_unavailable,
}


@pytest.fixture(params=["sqlite", "redis", "postgres", "manager", "rabbitmq", "rabbitmq+store"])
def held(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Held]:
    kind: str = request.param
    if reason := UNAVAILABLE.get(kind, lambda: None)():
        pytest.skip(reason)
    with opened(kind, tmp_path) as made:
        yield made


def app_at(url: str) -> Longboat:
    app = Longboat(url)

    async def answer() -> int:
        return 42

    app.task(name="answer")(answer)
    return app


class Calls:
    """Every asynchronous call of the calling side, by its name."""

    def __init__(self, app: Longboat, url: str) -> None:
        self.app = app
        self.url = url
        self.task: Any = app.named("answer")

    async def enqueue(self) -> None:
        await self.task.aenqueue()

    async def enqueue_many(self) -> None:
        await self.task.aenqueue_many([{}] * 3)

    async def enqueue_flow(self) -> None:
        await self.task.s().aenqueue()

    async def enqueue_by_name(self) -> None:
        await self.app.asend(f"unknown-{new_id()}")

    async def first_enqueue(self) -> None:
        async with app_at(self.url) as other:
            await other.asend("answer")

    async def first_await(self) -> None:
        async with app_at(self.url) as other:
            handle = await other.named("answer").aenqueue()
            assert await handle == 42

    async def events(self) -> None:
        async with self.app.events() as events:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(anext(events), 0.05)

    async def worker(self, made: Any) -> None:
        async with made:
            pass

    # --- of jobs that are there

    async def wait(self, job: Any) -> None:
        assert await job == 42

    async def give_up(self, job: Any) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.03):
                await job

    async def by_id(self, job: Any) -> None:
        with contextlib.suppress(ResultError):
            await self.app.job(job.id)

    async def gathered(self, job: Any) -> None:
        assert await gather(job, job) == [42, 42]

    async def completed(self, job: Any) -> None:
        async for each in as_completed([job]):
            assert each is job

    async def watched(self, job: Any) -> None:
        async for _ in job.awatch():
            break

    async def flow(self, flow: Any) -> None:
        assert await flow == 42


OF_A_JOB = ("wait", "give_up", "by_id", "gathered", "completed", "watched")


def test_no_call_blocks_the_loop_while_the_broker_stands_still(held: Held) -> None:
    blocked: list[str] = []

    async def under_way(name: str, call: Awaitable[None]) -> None:
        stuck = threading.Event()

        def go_on() -> None:
            stuck.set()
            held.thaw()

        timer = threading.Timer(BLOCKED, go_on)
        held.freeze()
        timer.start()
        try:
            doing = asyncio.ensure_future(call)
            for _ in range(TURNS):
                await asyncio.sleep(0.005)
        finally:
            timer.cancel()
            timer.join()
            if not stuck.is_set():
                held.thaw()
        if stuck.is_set():
            blocked.append(name)
        async with asyncio.timeout(10):
            await doing

    async def main(app: Longboat) -> None:
        calls = Calls(app, held.url)
        await calls.enqueue()
        for name in ("enqueue", "enqueue_many", "enqueue_flow", "enqueue_by_name", "first_enqueue", "first_await", "events"):
            await under_way(name, getattr(calls, name)())
        for name in OF_A_JOB:
            await under_way(name, getattr(calls, name)(await calls.task.aenqueue()))
        await under_way("flow", calls.flow(await calls.task.s().aenqueue()))
        other = app_at(held.url)
        await under_way("worker", calls.worker(other.worker(concurrency=1)))
        await under_way("close", other.__aexit__())

    with app_at(held.url) as app, app.worker(concurrency=10):
        asyncio.run(main(app))
    assert blocked == []
