"""Where it is measured: a fresh database, workers as processes of their own, and the view from outside."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bench import jobs
from longboat import State, connect
from longboat.contract.inspector import Inspector

HERE = Path(__file__).parent
ROOT = HERE.parent
LOOK = 0.002
"""Seconds between two looks at the counts; each takes about 30 µs of a processor that the worker does not use."""

MODES = ("full", "normal")

WORKER = ["longboat", "worker", "bench.jobs:app", "-q", "default", "-c", "100", "--processes", "2", "--log-level", "warning"]


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """A folder on a disk: a database in memory would make every commit free."""
    path = Path(tempfile.mkdtemp(prefix="work-", dir=HERE / "results"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def url(path: Path, mode: str) -> str:
    return f"sqlite:///{path}/jobs.db?synchronous={mode}"


@contextlib.contextmanager
def at(address: str) -> Iterator[None]:
    """The app of bench.jobs, in this process, enqueues there."""
    jobs.app.url = address
    try:
        yield
    finally:
        jobs.app.close()


@contextlib.contextmanager
def started(command: list[str], address: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process beside this one, asked to end afterwards and killed if it does not."""
    process = subprocess.Popen([sys.executable, "-m", *command], env=environment(address), cwd=ROOT)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def environment(address: str) -> dict[str, str]:
    """Of a program of ours beside this one."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "LONGBOAT_URL": address, "PYTHONPATH": os.pathsep.join(paths)}


def worker(address: str) -> contextlib.AbstractContextManager[subprocess.Popen[bytes]]:
    """The real command: a supervisor, and one worker process."""
    return started(WORKER, address)


def child(module: str, *values: object) -> list[float]:
    """Run a module in a process of its own; the numbers that it printed."""
    command = [sys.executable, "-m", module, *map(str, values)]
    run = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return [float(number) for number in run.stdout.split()]


@contextlib.contextmanager
def inspector(address: str) -> Iterator[Inspector]:
    broker = connect(address)
    try:
        yield broker.inspector
    finally:
        broker.close()


def waiting(look: Inspector) -> int:
    """Jobs that no worker has taken."""
    return sum(n for (_, state), n in look.counts().items() if state is State.READY)


def unended(look: Inspector) -> int:
    return sum(n for (_, state), n in look.counts().items() if not state.ended)


def until(true: Callable[[], bool], process: subprocess.Popen[bytes], limit: float = 120.0) -> float:
    """Look until it is true; the last moment at which it was not. Raises if the process ends before, or time is over."""
    before = time.perf_counter()
    for _ in range(int(limit / LOOK)):
        now = time.perf_counter()
        if true():
            return before
        before = now
        if process.poll() is not None and not true():
            raise RuntimeError(f"the worker ended with {process.returncode} before its jobs did")
        time.sleep(LOOK)
    raise TimeoutError(f"not done within {limit:g} s")


def drained(address: str, number: int) -> float:
    """Seconds from just before the first job is taken until `number` of those queued are settled, by one worker process."""
    with inspector(address) as look, worker(address) as process:
        queued = unended(look)
        begun = until(lambda: waiting(look) < queued, process)
        until(lambda: unended(look) <= queued - number, process)
        return time.perf_counter() - begun
