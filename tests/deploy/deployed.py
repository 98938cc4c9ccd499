"""Runs a command line of deploy/ as its supervisor would: in its environment, probed, and told to leave while a job runs."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sysconfig
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from longboat import Longboat
from longboat.core.job import State
from tests.rigs.cli import measured
from tests.rigs.servers.process import HOST, free_ports
from tests.rigs.waiting import until

DEPLOY = Path(__file__).parents[2] / "deploy"
SCRIPTS = sysconfig.get_path("scripts")
PATH = os.pathsep.join([SCRIPTS, os.environ.get("PATH", os.defpath)])
GRACE = 25.0
"""Seconds: the default of `longboat worker --grace`."""

TASKS = """
import time
from pathlib import Path

from longboat import Longboat

app = Longboat()


@app.task
def rest(begun: str) -> str:
    Path(begun).touch()
    time.sleep(1.0)
    return "rested"


@app.task(executor="process")
def apart() -> str:
    return "apart"
"""


def placed(text: str, redis: str = "redis:6379") -> tuple[str, int, int]:
    """A file's text with free ports of this machine in place of its own; those of a worker's health and of a dashboard."""
    health, page = free_ports(2)
    text = text.replace("redis:6379", redis)
    return text.replace("9461", str(health)).replace("5555", str(page)), health, page


@contextmanager
def running(folder: Path, command: Sequence[str], variables: Mapping[str, str]) -> Iterator[subprocess.Popen[str]]:
    """The command, in a folder with tasks.py. It is killed at the end if it has not left."""
    (folder / "tasks.py").write_text(TASKS)
    started = subprocess.Popen(
        command,
        cwd=folder,
        env={**measured(), "PATH": PATH, "PYTHONWARNINGS": "error", **variables},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield started
    finally:
        started.kill()
        started.communicate()


def passes(command: Sequence[str], variables: Mapping[str, str]) -> bool:
    done = subprocess.run(
        command, env={"PATH": PATH, **variables}, stdin=subprocess.DEVNULL, capture_output=True, timeout=30, check=False
    )
    return done.returncode == 0


def answers(port: int, path: str, patience: float = 5.0, **headers: str) -> int:
    """The status of what is served there; 0: nothing answers in time."""
    connection = http.client.HTTPConnection(HOST, port, timeout=patience)
    try:
        connection.request("GET", path, headers=headers)
        return connection.getresponse().status
    except OSError:
        return 0
    finally:
        connection.close()


def told_to_leave(program: subprocess.Popen[str], number: int = signal.SIGTERM) -> float:
    """How long it took, in seconds. It must leave with status 0."""
    began = time.monotonic()
    program.send_signal(number)
    said, _ = program.communicate(timeout=GRACE)
    assert program.returncode == 0, said
    return time.monotonic() - began


def finishes_what_it_runs(program: subprocess.Popen[str], url: str, folder: Path, number: int = signal.SIGTERM) -> None:
    """A worker that is told to leave in the middle of a job ends it first, and takes no other."""
    begun = folder / "begun"
    with Longboat(url) as app:
        assert app.send("tasks.apart").result(20) == "apart"
        job = app.send("tasks.rest", str(begun))
        until(begun.exists)
        told_to_leave(program, number)
        later = app.send("tasks.apart")
        assert (job.status(), later.status()) == (State.SUCCEEDED, State.READY)
        assert job.result(1) == "rested"
        later.cancel()


def waiting_for(condition: Callable[[], bool], program: subprocess.Popen[str]) -> None:
    """Until the condition holds; fails at once if the program has left."""

    def so() -> bool:
        assert program.poll() is None, program.communicate()[0]
        return condition()

    until(so, 30)
