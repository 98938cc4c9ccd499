"""`longboat dev`: a worker and the dashboard in one command, from its start to one Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from longboat.testing.conformance.stage import eventually
from tests.rigs.cli import COMMAND, TASKS, Shell, project
from tests.rigs.servers.process import free_ports

pytestmark = pytest.mark.slow

PATIENCE = 30.0

VARIABLES = {
    "PYTHONUNBUFFERED": "1",
    "LONGBOAT_DASHBOARD_ROLE": "admin",
    "LONGBOAT_DASHBOARD_WAIT_FOR_BROKER": "60s",  # the worker makes the file
}

TRIPLE = """
@app.task
def triple(n: int) -> int:
    return 3 * n
"""


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return project(tmp_path)


class Dev:
    """The command as a terminal starts it: leader of a process group, to which a Ctrl-C goes."""

    def __init__(self, shell: Shell, env: dict[str, str] | None = None) -> None:
        (self.port,) = free_ports(1)
        self._log = shell.folder / "dev.log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [*COMMAND, "dev", "tasks:app", "--port", str(self.port)],
                cwd=shell.folder,
                env=shell.environment({**VARIABLES, **(env or {})}),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def log(self) -> str:
        return self._log.read_text()

    def page(self, path: str = "/") -> str:
        """Empty: nobody answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                text: str = answer.read().decode()
                return text
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return ""

    def wait_for(self, text: str) -> None:
        eventually(lambda: text in self.log, f"{text!r} in the log", PATIENCE)

    def family(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def interrupt(self) -> int:
        os.killpg(self.process.pid, signal.SIGINT)
        return self.process.wait(PATIENCE)


@contextmanager
def developing(shell: Shell, env: dict[str, str] | None = None) -> Iterator[Dev]:
    dev = Dev(shell, env)
    try:
        yield dev
    finally:
        family = dev.family() if dev.process.poll() is None else []
        dev.process.kill()
        dev.process.wait()
        for process in family:
            if process.is_running():
                process.kill()


def test_from_start_to_one_ctrl_c(shell: Shell) -> None:
    with developing(shell) as dev:
        dev.wait_for("dashboard of")
        eventually(lambda: "Longboat" in dev.page(), "the page answers", PATIENCE)
        assert shell.run("enqueue", "tasks.add", "1", "2", "--wait", "--timeout", "30s").out == "3\n"
        assert "tasks.triple" not in dev.page("/tasks")

        (shell.folder / "tasks.py").write_text(TASKS + TRIPLE)
        assert shell.run("enqueue", "tasks.triple", "3", "--wait", "--timeout", "30s").out == "9\n"
        eventually(lambda: "tasks.triple" in dev.page("/tasks"), "the page knows the new task", PATIENCE)

        family = dev.family()
        assert dev.interrupt() == 0, dev.log
        assert not [process for process in family if process.is_running()]
        assert "Traceback" not in dev.log
        assert dev.page() == ""


def test_an_app_that_is_broken_at_first(shell: Shell) -> None:
    (shell.folder / "tasks.py").write_text("import longboat, nowhere\n")
    with developing(shell) as dev:
        eventually(lambda: dev.log.count("nowhere") == 2, "both say so", PATIENCE)  # the worker and the dashboard
        (shell.folder / "tasks.py").write_text(TASKS)
        eventually(lambda: "Longboat" in dev.page(), "the page answers", PATIENCE)
        assert shell.run("enqueue", "tasks.add", "1", "2", "--wait", "--timeout", "30s").out == "3\n"
        assert dev.interrupt() == 0, dev.log


def test_a_worker_alone_where_packages_are_missing(shell: Shell, tmp_path: Path) -> None:
    path = tmp_path / "path"
    path.mkdir()
    (path / "sitecustomize.py").write_text("import sys\nsys.modules['starlette'] = None\n")
    with developing(shell, {"PYTHONPATH": str(path)}) as dev:
        assert shell.run("enqueue", "tasks.add", "1", "2", "--wait", "--timeout", "30s").out == "3\n"
        assert dev.log.splitlines()[0] == "no dashboard: starlette not installed (pip install 'longboat[web]')"
        assert dev.interrupt() == 0
        assert "dashboard of" not in dev.log


def test_nothing_is_left_of_one_that_is_killed(shell: Shell) -> None:
    with developing(shell) as dev:
        dev.wait_for("dashboard of")
        family = dev.family()
        assert len(family) >= 2
        dev.process.kill()
        dev.process.wait()
        eventually(lambda: not any(process.is_running() for process in family), "all have left", PATIENCE)
