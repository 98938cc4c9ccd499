"""What a job says while it runs, and the steps that it need not do again."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from longboat import JobFailed, Longboat
from longboat.contract.kv import Entry
from longboat.errors import Unsupported
from longboat.tasks.handle import LOGS, PROGRESS
from tests.apps import inside_tasks


@pytest.fixture
def app() -> Iterator[Longboat]:
    with inside_tasks.app as app:
        yield app


def until(true: Any, what: str) -> None:
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


@pytest.mark.parametrize(
    "task", [inside_tasks.in_loop, inside_tasks.in_thread, inside_tasks.in_process], ids=lambda t: t.name
)
def test_progress_and_logs_are_seen_while_it_runs(app: Longboat, task: Any, tmp_path: Path) -> None:
    with app.worker(processes=1):
        job = task.enqueue(str(tmp_path))
        until(lambda: (said := job.progress()) is not None and said.done == 499, "its progress is seen")
        said = job.progress()
        assert (said.done, said.total, said.text) == (499, 500, "reading")
        assert abs(said.at - time.time()) < 15
        until(lambda: len(job.logs()) == 2, "its lines are seen")
        assert [(line.level, line.text, line.attempt) for line in job.logs()] == [
            ("INFO", "half way", 1),
            ("WARNING", "a warning of mine", 1),
        ]
        (tmp_path / "go").touch()
        job.result(10)
    assert job.progress().done == 500, "what was said last is kept"


@pytest.mark.parametrize(
    "task",
    [inside_tasks.steps_in_loop, inside_tasks.steps_in_thread, inside_tasks.steps_in_process],
    ids=lambda t: t.name,
)
def test_finished_steps_are_not_done_again(app: Longboat, task: Any, tmp_path: Path) -> None:
    with app.worker(processes=1):
        assert task.enqueue(str(tmp_path)).result(20) == [1, 1]
    assert ((tmp_path / "first").read_text(), (tmp_path / "second").read_text()) == ("x", "x")


def test_children_are_recorded(app: Longboat, tmp_path: Path) -> None:
    (tmp_path / "go").touch()
    with app.worker():
        job = inside_tasks.parent.enqueue(str(tmp_path))
        child = app.job(job.result(10))
        child.result(10)
    assert child.view().headers == {"parent": job.id}


def test_a_child_is_stored_where_no_job_can_be_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def find(_: object) -> None:
        raise Unsupported("it cannot look up a job")

    with Longboat("memory://") as app, monkeypatch.context() as patch:
        task = app.task(name="child")(len)
        patch.setattr(app.broker.inspector, "find", find)
        child = task.enqueue_child("its-parent", "ab")
        patch.undo()
        assert child.view().headers == {"parent": "its-parent"}


def test_a_child_that_speaks_without_end_is_stopped(app: Longboat) -> None:
    with app.worker(processes=1):
        began = time.monotonic()
        with pytest.raises(JobFailed, match="longer than its timeout"):
            inside_tasks.speaks_for_ever.enqueue().result(20)
        assert time.monotonic() - began < 4, "stopped softly, without the kill that comes 5 s later"


def test_progress_without_a_number_and_records_that_cannot_be_read(app: Longboat) -> None:
    import longboat

    @app.task(name="lost")
    async def lost() -> None:
        longboat.current().progress(math.nan, math.inf, "somewhere")
        longboat.current().log("here", level=5)  # type: ignore[arg-type]  # as untyped code may

    with app.worker():
        job = lost.enqueue()
        job.result(10)
    progress = job.progress()
    assert progress is not None
    assert (progress.done, progress.total, progress.text) == (0.0, None, "somewhere")
    kv = app.broker.kv
    kv.write(PROGRESS, [Entry(job.id, b"\xc1")])
    kv.write(LOGS + job.id, [Entry("9", b"\x91" * 5000)])
    assert job.progress() is None
    assert [(line.level, line.text) for line in job.logs()] == [("5", "here"), ("WARNING", "(a line that cannot be read)")]


def test_a_progress_of_megabytes_costs_nobody_a_line(app: Longboat) -> None:
    import longboat

    @app.task(name="verbose")
    async def verbose(text: str) -> None:
        longboat.current().progress(1, 2, text * 2_000_000)
        longboat.current().log(text)

    with app.worker():
        jobs = verbose.enqueue_many([("x",), ("y",)])
        longboat.gather(*jobs).result(10)
    for each, letter in zip(jobs, "xy", strict=True):
        progress = each.progress()
        assert progress is not None
        assert progress.text == letter * 3999 + "…"
        assert [line.text for line in each.logs()] == [letter]


def test_lines_are_bounded(app: Longboat) -> None:
    import longboat

    @app.task(name="chatty")
    async def chatty() -> None:
        for n in range(3000):
            longboat.current().log(f"{n} " + "x" * 5000)

    with app.worker():
        job = chatty.enqueue()
        job.result(10)
    lines = job.logs()
    assert len(lines) == 1000
    assert "left out" in lines[-1].text
    assert max(len(line.text) for line in lines) == 4000


def test_without_a_worker_nothing_is_heard_and_nothing_fails() -> None:
    import longboat
    from longboat.tasks.current import Running, running

    token = running.set(Running("id", "task", "default", 1))
    try:
        job = longboat.current()
        job.progress(1, 2)
        job.log("x")
        assert job.step("a", lambda: 7) == 7
        assert not job.cancelled
        with pytest.raises(longboat.ConfigError, match="no task: decorate it"):
            job.enqueue(len, "x")
    finally:
        running.reset(token)
