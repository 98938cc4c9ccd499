"""A worker inside a program whose event loop is blocked: it says so, takes no jobs, and takes them again."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from longboat import JobFailed, Longboat, State, WouldBlock, as_completed, gather
from longboat.executors.contract import TIMEOUT
from longboat.worker import loop_watch
from tests.apps.worker_tasks import calls
from tests.rigs.waiting import until
from tests.worker.test_health import get, url_of

gate = threading.Event()


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop_watch, "BLOCKED_AFTER", 0.3)
    monkeypatch.setattr(loop_watch, "LEAST_PATIENCE", 0.3)
    gate.clear()


def wait_for_the_gate() -> None:
    gate.wait(20)


async def block_here() -> None:
    wait_for_the_gate()


async def block_in_a_task() -> None:
    await asyncio.create_task(block_here())


async def block_in_a_callback() -> None:
    asyncio.get_running_loop().call_soon(wait_for_the_gate)
    await asyncio.sleep(0.01)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "kind"),
    [
        (block_here, "asyncio"),
        (block_here, "uvloop"),
        (block_in_a_task, "asyncio"),
        (block_in_a_task, "uvloop"),
        (block_in_a_callback, "asyncio"),
    ],
)
def test_the_job_is_named_and_alone_times_out(
    app: Longboat,
    tasks: Any,
    how: Callable[[], Any],
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("longboat.worker.event_loop._new_loop", pytest.importorskip(kind).new_event_loop)
    block = app.task(name="block")(how)
    with app.worker(concurrency=2, health_port=0, grace=0.3) as worker:
        url = url_of(worker)
        beside = tasks.wait.enqueue()
        until(lambda: beside.status() is State.RUNNING)
        job = block.enqueue()
        until(lambda: bool(worker.status.blocked))
        reason = f"the event loop is blocked by job {job.id} of task block"
        assert get(url, "/livez") == get(url, "/readyz") == (503, f"{reason}\n")
        with pytest.raises(JobFailed, match="blocked the event loop") as caught:
            job.result(timeout=10)
        assert caught.value.type == TIMEOUT
        assert "wait_for_the_gate" in caught.value.traceback
        until(lambda: beside.status() is State.READY)
        assert beside.view().attempts == 0
        beside.cancel()
        later = tasks.add.enqueue(1, 2)
        time.sleep(0.3)  # for what must not happen
        assert later.status() is State.READY
        assert worker.status.state == "blocked"
        gate.set()
        assert later.result(timeout=10) == 3
        assert get(url, "/readyz") == (200, "ok\n")
    assert reason in caplog.text
    assert "wait_for_the_gate" in caplog.text


@pytest.mark.slow
def test_a_program_that_blocks_its_own_loop_charges_nobody(app: Longboat, tasks: Any) -> None:
    async def main() -> None:
        async with app.worker(grace=0.3) as worker:
            beside = await tasks.wait.aenqueue()
            while not calls:
                await asyncio.sleep(0.01)
            until(lambda: worker.status.blocked == "the event loop is blocked by something that is no job")
            until(lambda: beside.status() is State.READY)
            assert (beside.view().attempts, beside.view().failures) == (0, [])
            beside.cancel()
            assert await tasks.add.enqueue(1, 2) == 3, "it goes on"

    asyncio.run(main())


def test_calls_that_have_not_begun_are_handed_back(app: Longboat, tasks: Any) -> None:
    block = app.task(name="block")(block_here)
    with app.worker(concurrency=1) as worker:
        jobs = block.enqueue_many([()] * 3)
        until(lambda: bool(worker.status.blocked))
        until(lambda: sorted(job.status() for job in jobs) == sorted([State.RUNNING, State.READY, State.READY]))
        gate.set()
        gather(*jobs).result(timeout=10)
        assert tasks.add.enqueue(1, 2).result(timeout=10) == 3


@pytest.mark.slow
def test_leaving_the_block_does_not_wait_for_a_loop_that_is_blocked(app: Longboat) -> None:
    block = app.task(name="block")(block_here)
    with app.worker(grace=0.1) as worker:
        job = block.enqueue()
        until(lambda: bool(worker.status.blocked))
        began = time.monotonic()
    assert time.monotonic() - began < 5
    assert job.status() in (State.READY, State.DEAD)


def test_leaving_the_block_needs_no_thread_of_asyncio(app: Longboat, tasks: Any) -> None:
    async def main() -> None:
        async with app.worker():
            for _ in range(64):
                asyncio.get_running_loop().run_in_executor(None, wait_for_the_gate)
            assert await tasks.add.enqueue(1, 2) == 3
        gate.set()

    began = time.monotonic()
    asyncio.run(main())
    assert time.monotonic() - began < 10


def test_waiting_where_an_event_loop_runs_raises_at_once(app: Longboat, tasks: Any) -> None:
    async def main() -> None:
        async with app.worker():
            job, flow = tasks.add.enqueue(1, 2), tasks.add.s(3, 4).enqueue()
            for call in (job.result, flow.result, gather(job).result, lambda: next(iter(as_completed([job])))):
                with pytest.raises(WouldBlock, match="instead"):
                    call()
            assert await job == 3
            assert job.result() == 3, "known by now"

    asyncio.run(main())
