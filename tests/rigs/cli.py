"""Runs the real command in a subprocess, in a directory with a small app."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

IMPATIENT = [f"LONGBOAT_{command}_WAIT_FOR_BROKER" for command in ("WORKER", "SERVE", "DASHBOARD")]
"""Variables by which a command tells at once that the broker is not there, where a test does not say otherwise."""

COMMAND = [sys.executable, "-m", "longboat"]

TASKS = """
import os
import time
from longboat import Longboat

app = Longboat()

@app.task
async def add(a: int, b: int) -> int:
    return a + b

@app.task
def greet(name: str) -> str:
    return f"hello {name}"

@app.task
def boom(text: str) -> None:
    raise ValueError(text)

@app.task(queue="slow")
def sleep(seconds: float) -> None:
    time.sleep(seconds)

@app.task(executor="process")
def pid() -> int:
    return os.getpid()
"""


def project(folder: Path) -> Shell:
    """A shell in a directory that holds tasks.py."""
    (folder / "tasks.py").write_text(TASKS)
    return Shell(folder)


def measured() -> dict[str, str]:
    """What a program with an environment of its own needs, so that coverage counts what it runs."""
    return {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")}


class Done(NamedTuple):
    """What a command wrote."""

    out: str
    err: str


class Shell:
    """A directory, and the command run in it with an environment of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = f"sqlite:///{folder}/longboat.db"

    def environment(self, more: dict[str, str] | None = None) -> dict[str, str]:
        return {
            **dict.fromkeys(IMPATIENT, "0"),
            "PATH": os.defpath,
            "HOME": str(self.folder),
            "PYTHONWARNINGS": "error",
            "TZ": "UTC",
            **(more or {}),
        }

    def run(self, *arguments: str, status: int = 0, env: dict[str, str] | None = None, folder: Path | None = None) -> Done:
        """Run it to its end, with no terminal; it must have this exit status, and on failure say so in two lines."""
        done = subprocess.run(
            [*COMMAND, *arguments],
            cwd=folder or self.folder,
            env=self.environment(env),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == status, (arguments, done.returncode, done.stdout, done.stderr)
        return Done(done.stdout, done.stderr)

    def fails(self, *arguments: str, status: int, env: dict[str, str] | None = None, folder: Path | None = None) -> Done:
        """As `run`, of a command that fails: it says nothing but what, and what to do."""
        done = self.run(*arguments, status=status, env=env, folder=folder)
        lines = [line for line in done.err.splitlines() if not line.startswith("Waiting: ")]  # on a slow machine
        assert len(lines) == 2, done.err
        assert lines[0].startswith("Error: "), done.err
        assert lines[1][-1] in ".:`'" or lines[1].endswith(":name"), done.err
        return done

    def start(self, *arguments: str, env: dict[str, str] | None = None) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*COMMAND, *arguments],
            cwd=self.folder,
            env=self.environment({"PYTHONUNBUFFERED": "1", **(env or {})}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def on_terminal(self, *arguments: str, answer: str = "", env: dict[str, str] | None = None) -> tuple[str, int]:
        """Run it on a terminal of its own and type `answer` when it asks; what was shown, and the exit status."""
        ours, theirs = os.openpty()
        process = subprocess.Popen(
            [*COMMAND, *arguments],
            cwd=self.folder,
            env=self.environment({"TERM": "xterm", "COLUMNS": "150", **(env or {})}),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        try:
            text = _read(ours, lambda text: bool(answer) and text.rstrip().endswith("[y/N]:"))
            if answer:
                os.write(ours, f"{answer}\n".encode())
                text += _read(ours, lambda _: False)
            return text.replace("\r\n", "\n"), process.wait(30)
        finally:
            process.kill()
            process.wait()
            os.close(ours)


def _read(terminal: int, enough: Callable[[str], bool]) -> str:
    text = ""
    end = time.monotonic() + 30
    while not enough(text) and time.monotonic() < end:
        if select.select([terminal], [], [], 0.1)[0]:
            try:
                data = os.read(terminal, 4096)
            except OSError:  # the other side was closed
                break
            if not data:
                break
            text += data.decode()
    return text
