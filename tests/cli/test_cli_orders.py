"""`longboat workers quiet`, `resume` and `stop` beside real worker processes: what runs is finished, nobody follows."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from longboat.brokers.sqlite import SqliteBroker
from longboat.core.job import State
from longboat.observe.history import WorkerRecord, workers
from tests.rigs.cli import Shell, project

pytestmark = pytest.mark.slow


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    made = project(tmp_path)
    made.run("enqueue", "tasks.add", "0", "0")
    return made


@pytest.fixture
def broker(shell: Shell) -> Iterator[SqliteBroker]:
    made = SqliteBroker(shell.folder / "longboat.db")
    yield made
    made.close()


@contextmanager
def started(shell: Shell, *options: str) -> Iterator[subprocess.Popen[str]]:
    with shell.start("worker", "tasks:app", *options) as process:
        try:
            yield process
        finally:
            process.kill()


def until(true: Callable[[], Any], patience: float = 20.0) -> Any:
    due = time.monotonic() + patience
    while not (found := true()):
        assert time.monotonic() < due, "it did not happen in time"
        time.sleep(0.02)
    return found


def records(broker: SqliteBroker, count: int) -> list[WorkerRecord]:
    shown: list[WorkerRecord] = until(lambda: found if len(found := workers(broker.kv)) == count else None)
    return shown


def test_quiet_and_resume(shell: Shell, broker: SqliteBroker) -> None:
    with started(shell):
        (record,) = records(broker, 1)
        assert shell.run("workers", "quiet", record.name).out == f"{record.name}  quiet, takes no more jobs\n"
        until(lambda: records(broker, 1)[0].state == "quiet")
        assert json.loads(shell.run("workers", "--json").out)["state"] == "quiet"
        job_id = shell.run("enqueue", "tasks.add", "1", "2").out.strip()
        time.sleep(0.5)
        (view,) = broker.inspector.find([job_id])
        assert view is not None
        assert view.state is State.READY
        assert shell.run("workers", "resume", record.name).out == f"{record.name}  resumed, takes jobs again\n"
        assert shell.run("result", job_id, "--wait").out.strip() == "3"
        shell.run("workers", "quiet", "nobody:1", status=1)


def test_one_of_two_processes_is_stopped_and_nobody_follows_then_the_last(shell: Shell, broker: SqliteBroker) -> None:
    with started(shell, "-n", "2", "-q", "slow") as process:
        shell.fails("workers", "stop", records(broker, 2)[0].name, status=2)
        job_id = shell.run("enqueue", "tasks.sleep", "5").out.strip()
        busy = until(lambda: next((record for record in workers(broker.kv) if record.running), None))
        shell.run("workers", "stop", busy.name, "--yes")
        until(lambda: any(record.state == "stopping" for record in workers(broker.kv)))
        (left,) = records(broker, 1)
        (view,) = broker.inspector.find([job_id])
        assert view is not None
        assert (view.state, view.attempts) == (State.SUCCEEDED, 1), "what ran was finished"
        time.sleep(1.0)
        assert [record.name for record in workers(broker.kv)] == [left.name]
        assert process.poll() is None
        shell.run("workers", "stop", left.name, "--yes")
        assert process.wait(20) == 0


def test_a_scaled_worker_does_not_follow_one_that_was_stopped(shell: Shell, broker: SqliteBroker) -> None:
    with started(shell, "--scale", "2-4") as process:
        first, second = records(broker, 2)
        shell.run("workers", "stop", first.name, "--yes")
        assert [record.name for record in records(broker, 1)] == [second.name]
        time.sleep(1.5)  # the supervisor looks each second
        assert [record.name for record in workers(broker.kv)] == [second.name]
        assert process.poll() is None
        shell.run("workers", "stop", second.name, "--yes")
        assert process.wait(20) == 0


def test_what_does_not_end_within_the_grace_is_cut_off(shell: Shell, broker: SqliteBroker) -> None:
    with started(shell, "--grace", "1s") as process:
        records(broker, 1)
        job_id = shell.run("enqueue", "tasks.sleep", "60").out.strip()
        (record,) = until(lambda: found if (found := workers(broker.kv)) and found[0].running else None)
        shell.run("workers", "stop", record.name, "--yes")
        assert process.wait(12) == 0
        (view,) = until(lambda: found if (found := broker.inspector.find([job_id]))[0].state is State.READY else None)  # type: ignore[union-attr]  # it is there
        assert view.attempts == 0


WEARING = """
import os
import time
from longboat import Longboat

app = Longboat()

@app.task(timeout="0.5s")
def deaf() -> None:
    time.sleep(60)

@app.task
def healthy(until: str) -> int:
    while not os.path.exists(until):
        time.sleep(0.05)
    return os.getpid()
"""


def test_a_thread_that_cannot_be_ended_holds_up_no_other_job(shell: Shell, broker: SqliteBroker) -> None:
    (shell.folder / "tasks.py").write_text(WEARING)
    with started(shell, "--grace", "1s") as process:
        (first,) = records(broker, 1)
        beside = shell.run("enqueue", "tasks.healthy", "seen").out.strip()
        until(lambda: workers(broker.kv)[0].running)
        shell.run("enqueue", "tasks.deaf")
        until(lambda: any(record.name != first.name for record in workers(broker.kv)))
        after = shell.run("enqueue", "tasks.healthy", ".").out.strip()
        new = shell.run("result", after, "--wait").out
        (view,) = broker.inspector.find([beside])
        assert view is not None
        assert view.state is State.RUNNING, "the other process runs jobs meanwhile"
        (shell.folder / "seen").touch()
        assert shell.run("result", beside, "--wait").out != new
        (view,) = broker.inspector.find([beside])
        assert view is not None
        assert (view.state, view.attempts) == (State.SUCCEEDED, 1), "what ran beside it was finished, whatever the grace"
        (left,) = records(broker, 1)
        assert left.name != first.name, "then its process has gone"
        process.terminate()
        said = process.communicate(timeout=20)[0]
        assert process.returncode == 0
    assert "a call of task tasks.deaf did not end when its time was up" in said
    assert "running jobs have as long as they take: 1" in said
