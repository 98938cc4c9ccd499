"""Commands on a real terminal that belongs to them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from longboat import Longboat
from longboat.core.job import State
from longboat.observe.history import workers
from tests.rigs.cli import COMMAND, Shell, project
from tests.rigs.fault import until

pytestmark = pytest.mark.slow

LEADER = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.executable, sys.argv[1:])"

SPEAKS = """
import os
import time
from longboat import Longboat

app = Longboat()

@app.task
def speak() -> int:
    while not os.path.exists("go"):
        time.sleep(0.02)
    print("said", flush=True)
    return os.getpid()
"""


@contextmanager
def foreground(shell: Shell, *arguments: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """The command on a terminal of its own, and our end of the terminal."""
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", LEADER, *COMMAND, *arguments],
        cwd=shell.folder,
        env=shell.environment({"TERM": "xterm"}),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    try:
        yield process, ours
    finally:
        process.kill()
        process.wait()


def test_a_worker_whose_terminal_is_closed_stops_and_one_that_is_told_to_reload_does_that(tmp_path: Path) -> None:
    shell = project(tmp_path)
    Path(tmp_path, "tasks.py").write_text(SPEAKS)
    with Longboat(shell.url) as app, foreground(shell, "worker", "tasks:app", "--log-level", "error") as (worker, ours):

        def states() -> dict[int, str]:
            return {record.pid: record.state for record in workers(app.broker.kv)}

        until(states, 30, lambda: str(states()))
        (first,) = states()
        worker.send_signal(signal.SIGHUP)
        until(lambda: bool(states().keys() - {first}), 30, lambda: str(states()))
        job = app.named("tasks.speak").enqueue()
        until(lambda: job.status() is State.RUNNING, 30, lambda: str(states()))
        os.close(ours)
        until(lambda: "stopping" in states().values(), 30, lambda: str(states()))
        Path(tmp_path, "go").touch()
        assert worker.wait(40) == 0
        assert job.result(timeout=10) not in (0, first)
