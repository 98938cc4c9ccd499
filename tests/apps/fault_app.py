"""The app that the fault tests' workers run. Its tasks write a line to a log when they start and when they end."""

from __future__ import annotations

import asyncio
import collections
import ctypes
import itertools
import multiprocessing
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

from longboat import Longboat, current

app = Longboat(os.environ["LONGBOAT_URL"])
_log = os.open(os.environ["FAULT_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)


def entry(event: str) -> None:
    job = current()
    os.write(_log, f"{event} {job.id} {os.getpid()} {job.attempt} {time.monotonic_ns()}\n".encode())


@contextmanager
def noted() -> Iterator[None]:
    """The end is written only if the block is left without an exception."""
    entry("start")
    yield
    entry("end")


@app.task
async def wait_for(path: str) -> None:
    """Until there is such a file."""
    with noted():
        while not os.path.exists(path):
            await asyncio.sleep(0.05)


@app.task
async def nap(seconds: float) -> None:
    with noted():
        await asyncio.sleep(seconds)


@app.task
def nap_in_thread(seconds: float) -> None:
    with noted():
        time.sleep(seconds)


@app.task(executor="process")
def nap_in_process(seconds: float) -> None:
    with noted():
        time.sleep(seconds)


@app.task
async def die(how: str) -> None:
    with noted():
        DEATHS[how]()


@app.task
def die_in_thread(how: str) -> None:
    with noted():
        DEATHS[how]()


@app.task(timeout=1)
def hold_the_lock(after: float) -> None:
    """Compute in C, which lets no other thread of this process run."""
    with noted():
        time.sleep(after)
        _loop_in_c()


@app.task(executor="process", timeout=1)
def die_in_process(how: str) -> None:
    with noted():
        DEATHS[how]()


@app.task(timeout=1)
async def block(seconds: float) -> None:
    """Await nothing."""
    with noted():
        time.sleep(seconds)


@app.task
async def fill_the_pool(seconds: float) -> None:
    """Leave asyncio's own threads busy behind."""
    with noted():
        for _ in range(64):
            asyncio.get_running_loop().run_in_executor(None, time.sleep, seconds)


@app.task
def fork_in_thread() -> None:
    os.fork()


@app.task
async def fork(awaits: bool) -> None:
    os.fork()
    if awaits:
        await asyncio.sleep(0.1)


@app.task
def end_another(how: str) -> int:
    """Start a process and end it by a signal; its exit status."""
    if how == "terminate":
        process = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
        process.start()
        process.terminate()
        process.join()
        return process.exitcode or 0
    with subprocess.Popen(["sleep", "60"]) as sleep:
        sleep.send_signal(signal.Signals[how])
        return sleep.wait()


@app.task
def swell(megabytes: int) -> None:
    """Keep that much memory for good."""
    with noted():
        _kept.append(bytearray(megabytes << 20))


_kept: list[bytearray] = []


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _exit() -> None:
    os._exit(3)


def _exit_well() -> None:
    os._exit(0)


def _segfault() -> None:
    ctypes.string_at(0)


def _regex() -> None:
    re.match(r"(a+)+$", "a" * 60 + "b")


def _loop_in_c() -> None:
    collections.deque(itertools.repeat(None), maxlen=0)


def _recurse() -> None:
    _recurse()


DEATHS = {
    "kill": _kill,
    "exit": _exit,
    "exit well": _exit_well,
    "segfault": _segfault,
    "regex": _regex,
    "loop": _loop_in_c,
    "recursion": _recurse,
}
