"""`longboat replay`: a job's call as it was, in the caller's process."""

from __future__ import annotations

import json
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from longboat.connect import connect
from longboat.contract.broker import Settlement
from longboat.core.codec import encode
from longboat.core.constraints import Constraints
from longboat.core.job import Done, Job, State
from longboat.core.views import JobView
from tests.rigs.cli import COMMAND, Shell

pytestmark = pytest.mark.slow

TASKS = """
import asyncio
import logging
import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import longboat
from longboat import Depends, Longboat

app = Longboat()
told = []

@dataclass
class Point:
    x: int
    y: int

@app.lifespan
async def life() -> AsyncIterator[None]:
    told.append("life")
    yield
    print("closed:", *told)

def pool() -> Iterator[str]:
    told.append("pool")
    yield "a pool"
    told.append("pool closed")

async def client() -> str:
    return "a client"

@app.task
def measure(point: Point, *, scale: int = 2, using: str = Depends(pool)) -> dict[str, object]:
    job = longboat.current()
    job.progress(1, 2)
    job.log("measuring")
    logging.getLogger("mine").info("this is heard")
    size = job.step("size", lambda: point.x * point.y * scale)
    return {"id": job.id, "attempt": job.attempt, "size": size, "using": using, "pid": os.getpid(), "n": asyncio.run(one())}

async def one() -> int:
    return 1

@app.task
async def fetch(url: str, using: str = Depends(client)) -> str:
    await asyncio.sleep(0)
    return f"{url} by {using} for {longboat.current().id}"

@app.task(executor="process")
def pid() -> int:
    return os.getpid()

@app.task
def odd() -> object:
    return object()

@app.task
def leave() -> None:
    raise SystemExit("gone")

@app.task
async def fails(n: int) -> None:
    secret = n * 2
    raise ValueError(f"no {n}")

@app.task(keep_result=KEEP)
def double(n: int) -> int:
    return n * 2

@app.task
def total(numbers: list[int], plus: int) -> int:
    return sum(numbers) + plus
"""


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    (tmp_path / "tasks.py").write_text(TASKS.replace("KEEP", "3600"))
    return Shell(tmp_path)


def flow(shell: Shell) -> tuple[str, str]:
    """The ids of a job that takes the results of two others and one number, and of the second of these."""
    code = (
        "from tasks import app, double, total; "
        "flow = total.s([double.s(1).value, double.s(2).value], 10).enqueue(); "
        "print(flow.ends, flow.jobs()[1].id)"
    )
    done = subprocess.run(
        [COMMAND[0], "-c", code], cwd=shell.folder, env=shell.environment(), capture_output=True, text=True, check=True
    )
    last, second = done.stdout.split()
    return last, second


def work(shell: Shell) -> None:
    shell.run("worker", "--burst", "--log-level", "error")


def everything(shell: Shell) -> list[list[JobView]]:
    """All that the broker tells of its jobs."""
    broker = connect(shell.url)
    try:
        return [broker.inspector.jobs(state).jobs for state in State]
    finally:
        broker.close()


def test_a_call_is_made_as_in_a_worker(shell: Shell) -> None:
    shell.run("enqueue", "tasks.measure", "--kwargs", '{"point": {"x": 2, "y": 3}}', "--id", "m")
    shell.run("enqueue", "tasks.fetch", "there", "--id", "f")
    before = everything(shell)
    done = shell.run("replay", "m")
    value = json.loads(done.out.splitlines()[-1])
    assert value.pop("pid") > 0
    assert value == {"id": "m", "attempt": 1, "size": 12, "using": "a pool", "n": 1}
    assert "closed: life pool" in done.out
    assert done.err.startswith('tasks.measure {"point":{"x":2,"y":3}}\n')
    assert "this is heard" in done.err
    assert shell.run("replay", "f", "tasks:app").out.splitlines()[-1] == "there by a client for f"
    assert everything(shell) == before


def test_a_task_for_child_processes_runs_here(shell: Shell) -> None:
    shell.run("enqueue", "tasks.pid", "--id", "p")
    process = shell.start("replay", "p")
    out, _ = process.communicate(timeout=30)
    assert out.splitlines()[-1] == str(process.pid)


def test_a_failure_shows_its_traceback(shell: Shell) -> None:
    shell.run("enqueue", "tasks.fails", "4", "--id", "bad")
    work(shell)
    before = everything(shell)
    lines = shell.run("replay", "bad", status=1).err.splitlines()
    assert lines[1] == "Traceback (most recent call last):"
    assert lines[2].startswith(f'  File "{shell.folder}/tasks.py"')  # no frames of ours before it
    assert lines[-1] == "ValueError: no 4"
    shell.run("enqueue", "tasks.leave", "--id", "left")
    assert shell.run("replay", "left", status=1).err.endswith("SystemExit: gone\n")
    shell.run("enqueue", "tasks.odd", "--id", "odd")
    assert "cannot be stored" in shell.run("replay", "odd", status=1).err
    assert everything(shell)[list(State).index(State.DEAD)] == before[list(State).index(State.DEAD)]


def test_the_debugger_opens_where_it_was_raised(shell: Shell) -> None:
    shell.run("enqueue", "tasks.fails", "4", "--id", "bad")
    done = subprocess.run(
        [*COMMAND, "replay", "bad", "--pdb"],
        cwd=shell.folder,
        env=shell.environment(),
        input="p 'secret', secret\nq\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert "('secret', 8)" in done.stdout
    assert done.stdout.endswith("closed: life\n")  # after the debugger: what was opened can be looked at


def test_results_of_parents(shell: Shell) -> None:
    last, second = flow(shell)
    assert "which has not ended: it is ready" in shell.fails("replay", last, status=6).err
    work(shell)
    assert shell.run("replay", last).out.splitlines()[-1] == "16"

    last, second = flow(shell)
    shell.run("cancel", second)
    work(shell)
    assert f"takes 'numbers' from job {second}, which is cancelled" in shell.fails("replay", last, status=1).err


def test_results_that_are_forgotten(shell: Shell) -> None:
    (shell.folder / "tasks.py").write_text(TASKS.replace("KEEP", "0"))
    last, _ = flow(shell)
    work(shell)
    assert shell.run("result", last).out == "16\n"
    assert "whose result is no longer kept" in shell.fails("replay", last, status=1).err


def test_what_cannot_be_replayed(shell: Shell) -> None:
    shell.run("enqueue", "tasks.pid")
    assert "no job 'nobody'" in shell.fails("replay", "nobody", status=1).err
    shell.run("enqueue", "tasks.gone", "--id", "gone", "--url", shell.url)
    assert "no task 'tasks.gone'" in shell.fails("replay", "gone", status=2).err
    shell.run("enqueue", "tasks.fetch", "--kwargs", '{"url": 5}', "--id", "misfit", "--url", shell.url)
    assert "do not fit" in shell.fails("replay", "misfit", status=2).err
    with closing(sqlite3.connect(shell.folder / "longboat.db")) as db, db:
        db.execute("UPDATE longboat_jobs SET message = x'c1' WHERE id = 'gone'")
    assert "cannot be decoded" in shell.fails("replay", "gone", status=1).err
    work(shell)
    assert "cannot be decoded" in shell.fails("replay", "gone", status=1).err
    (shell.folder / "elsewhere").mkdir()
    shell.fails("replay", "nobody", status=3, folder=shell.folder / "elsewhere")


def test_arguments_that_no_result_can_be_filled_into_are_told(shell: Shell) -> None:
    broker = connect(shell.url)
    parent = Job(1, "parent", "tasks.double", encode({}), "q")
    broker.put(
        [parent, Job(1, "x $(touch y)", "tasks.double", b"\xc0", constraints=Constraints(after=["parent"], into={"n": 0}))]
    )
    consumer = broker.consumer(["q"], lease=60.0)
    consumer.settle([Settlement(lease, Done(encode(1))) for lease in consumer.receive(1, wait=0.0)])
    consumer.close()
    broker.close()
    failed = shell.run("replay", "x $(touch y)", status=2)
    assert "Expected `object`" in failed.err
    assert "Traceback" not in failed.err
    assert "'x $(touch y)'" in failed.err, "what is there to be copied is quoted"
