"""How workers share a queue: short jobs behind a long one run elsewhere, and idle workers get equal parts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from longboat import Longboat, State, gather
from tests.apps import worker_tasks
from tests.rigs import harnesses
from tests.rigs.broker import URLS
from tests.rigs.waiting import until

EXECUTORS = ["", "_thread", pytest.param("_process", marks=pytest.mark.slow)]
ONE_SLOT: dict[str, Any] = {"queues": ["default"], "concurrency": 1, "threads": 1, "processes": 1}


@pytest.fixture(
    params=["memory", "sqlite", *(pytest.param(name, marks=pytest.mark.slow) for name in URLS if name != "rabbitmq")]
)
def app(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Longboat]:
    """On every broker that keeps results."""
    name = request.param
    with ExitStack() as stack:
        if name in URLS:
            if why := harnesses.unavailable(name):
                pytest.skip(why)
            url = stack.enter_context(URLS[name](tmp_path))
        else:
            url = "memory://" if name == "memory" else f"sqlite:///{tmp_path}/jobs.db"
        yield stack.enter_context(Longboat(url))


@pytest.fixture
def tasks(app: Longboat) -> Iterator[Any]:
    worker_tasks.calls.clear()
    worker_tasks.limit.clear()
    yield worker_tasks.declare(app)
    worker_tasks.limit.set()


def running(app: Longboat) -> int:
    return app.broker.inspector.counts().get(("default", State.RUNNING), 0)


@pytest.mark.parametrize("executor", EXECUTORS, ids=lambda name: name.strip("_") or "async")
def test_short_jobs_do_not_wait_behind_a_long_one(app: Longboat, tasks: Any, executor: str, tmp_path: Path) -> None:
    short, long, over = getattr(tasks, f"short{executor}"), getattr(tasks, f"long{executor}"), tmp_path / "over"
    jobs = short.enqueue_many([()] * 300)
    held = long.enqueue(str(over))
    jobs += short.enqueue_many([()] * 300)
    try:
        with app.worker(**ONE_SLOT), app.worker(**ONE_SLOT):
            gather(*jobs).result(timeout=30)
            assert not held.view().state.ended
            over.touch()
            held.result(timeout=10)
    finally:
        over.touch()
    assert {job.view().attempts for job in jobs} == {1}


def test_long_jobs_that_wait_stop_no_short_ones_and_go_where_they_can_run(app: Longboat, tasks: Any, tmp_path: Path) -> None:
    """More long thread jobs than two rounds of slots, before coroutines in the same queue."""
    over = tmp_path / "over"
    longs = tasks.long_thread.enqueue_many([(str(over),)] * 5)
    shorts = tasks.short.enqueue_many([()] * 200)
    try:
        with app.worker(queues=["default"], threads=1):
            gather(*shorts).result(timeout=20)
            with app.worker(queues=["default"], threads=1):
                until(lambda: len(list(tmp_path.glob("over-*"))) == 2)
                late = tasks.short.enqueue()
                late.result(timeout=10)
                over.touch()
                gather(*longs).result(timeout=20)
    finally:
        over.touch()
    assert {job.view().attempts for job in (*longs, *shorts)} == {1}


@pytest.mark.parametrize(
    ("executor", "jobs", "most"), [("", 30, 20), pytest.param("_process", 6, 3, marks=pytest.mark.slow)]
)
def test_idle_workers_share(app: Longboat, tasks: Any, executor: str, jobs: int, most: int) -> None:
    """Of what is put while they wait none takes more than two thirds (equal parts on an idle machine)."""
    short = getattr(tasks, f"short{executor}")
    with ExitStack() as stack:
        workers = [stack.enter_context(app.worker(queues=["default"], processes=2)) for _ in range(3)]
        for worker in workers:  # its children are there
            gather(*short.enqueue_many([()] * 12)).result(timeout=20)
            until(lambda worker=worker: not worker._in_flight.calls)  # type: ignore[misc]  # mypy cannot type a default of a lambda
        parts: list[list[int]] = []
        for _ in range(5):
            before = [worker._in_flight.total() for worker in workers]
            gather(*short.enqueue_many([(0.3,)] * jobs)).result(timeout=20)
            parts.append([worker._in_flight.total() - ended for worker, ended in zip(workers, before, strict=True)])
            if max(parts[-1]) <= most:
                return
    raise AssertionError(f"{jobs} jobs were shared so: {parts}")
