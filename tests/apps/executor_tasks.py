"""What the executors are tested with: one function for each behaviour, as a coroutine too (`a_…`)."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import ctypes
import inspect
import multiprocessing
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from longboat.core.retry import RetryPolicy
from longboat.errors import Stopped
from longboat.tasks.current import current
from longboat.tasks.task import ExecutorName, Settings, Task
from longboat.tasks.template import Template

TICK = 0.002

shade: contextvars.ContextVar[str] = contextvars.ContextVar("shade", default="none")


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no")

    __repr__ = __str__


GROUPS = {
    "lost": ExceptionGroup("all", [ConnectionResetError("a"), ExceptionGroup("in", [BrokenPipeError("b")])]),
    "mixed": ExceptionGroup("some", [ConnectionResetError("a"), ExceptionGroup("in", [KeyError("b")])]),
    "half": BaseExceptionGroup("half", [ValueError("a"), asyncio.CancelledError()]),
    "leaving": BaseExceptionGroup("half", [ValueError("a"), SystemExit()]),
}


def add(a: int, b: int) -> int:
    return a + b


def fail(text: str) -> None:
    raise ValueError(text)


def blow(what: str) -> None:
    """Raises what its name says."""
    if what == "recursion":
        blow(what)
    kinds = {"exit": SystemExit, "interrupt": KeyboardInterrupt, "generator": GeneratorExit, "memory": MemoryError}
    if what == "chain":
        try:
            raise KeyError("first")
        except KeyError as error:
            raise RuntimeError("second") from error
    if what == "cancelled":
        raise asyncio.CancelledError
    if what in GROUPS:
        raise GROUPS[what]
    if what == "surrogate":
        raise ValueError("\udc80")
    raise kinds.get(what, Unprintable)()


def give(what: str) -> Any:
    """Returns what cannot be stored."""
    return {"object": object(), "big": b"x" * 2_000_000, "surrogate": "\udc80"}[what]


def who() -> list[Any]:
    job = current()
    return [job.id, job.task, job.attempt]


def colour(name: str) -> str:
    """Leaves something behind in its context; returns what it found there."""
    found = shade.get()
    shade.set(name)
    return found


def span(seconds: float) -> tuple[float, float]:
    began = time.monotonic()
    time.sleep(seconds)
    return began, time.monotonic()


def log(path: str, line: str) -> None:
    with open(path, "a") as file:
        file.write(line + "\n")


def hold(begun: str, release: str) -> str:
    """Runs until `release` is there, or until it is asked to stop: then it raises Stopped."""
    Path(begun).touch()
    while not Path(release).exists():
        if current().stopping:
            raise Stopped
        time.sleep(TICK)
    return "released"


def polite(begun: str) -> str:
    """Returns when it is asked to stop."""
    try:
        Path(begun).touch()
        while not current().stopping:
            time.sleep(TICK)
    except Stopped:
        pass
    return "returned all the same"


def clumsy(begun: str) -> str:
    """Raises something else when it is asked to stop."""
    try:
        polite(begun)
    finally:
        raise KeyError("while cleaning up")


def stubborn(begun: str, release: str) -> str:
    """Runs until `release` is there, whatever it is told, and wherever it is then."""
    while True:
        try:
            while not Path(release).exists():
                Path(begun).touch()
                time.sleep(TICK)
            return "released"
        except BaseException:
            Path(begun + ".told").touch()


async def a_add(a: int, b: int) -> int:
    return a + b


async def a_fail(text: str) -> None:
    raise ValueError(text)


async def a_blow(what: str) -> None:
    blow(what)


async def a_give(what: str) -> Any:
    return give(what)


async def a_who() -> list[Any]:
    await asyncio.sleep(0)
    return who()


async def a_colour(name: str) -> str:
    return colour(name)


async def a_span(seconds: float) -> tuple[float, float]:
    began = time.monotonic()
    await asyncio.sleep(seconds)
    return began, time.monotonic()


async def a_log(path: str, line: str) -> None:
    log(path, line)


async def a_hold(begun: str, release: str) -> str:
    Path(begun).touch()
    while not Path(release).exists():
        await asyncio.sleep(TICK)
    return "released"


async def a_polite(begun: str) -> str:
    Path(begun).touch()
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.sleep(60)
    return "returned all the same"


async def a_clumsy(begun: str) -> str:
    try:
        await a_polite(begun)
    finally:
        raise KeyError("while cleaning up")


async def a_stubborn(begun: str, release: str) -> str:
    while not Path(release).exists():
        try:
            Path(begun).touch()
            await asyncio.sleep(TICK)
        except asyncio.CancelledError:
            Path(begun + ".told").touch()
    return "released"


def make_task(
    fn: Callable[..., Any],
    kind: ExecutorName,
    *,
    retry_on: tuple[type[BaseException], ...] = (Exception,),
    timeout: float | None = None,
) -> Task[..., Any]:
    if kind == "async" and not inspect.iscoroutinefunction(fn):
        fn = globals()["a_" + fn.__name__]
    settings = Settings(kind, RetryPolicy(0, 0.0), retry_on, timeout)
    return Task(fn, fn.__name__.removeprefix("a_"), settings, Template(), None)


# --- for child processes only


def pid() -> int:
    return os.getpid()


def die(how: str) -> None:
    if how == "segfault":
        ctypes.string_at(0)
    if how == "exit":
        os._exit(3)
    os.kill(os.getpid(), signal.SIGKILL)


def bury_in_c(begun: str) -> int:
    """Minutes in C code that holds the GIL and looks for no signal."""
    Path(begun).touch()
    number: int = 3**10**8
    return number & 1


def nap(release: str) -> None:
    while release and not Path(release).exists():
        time.sleep(TICK)


def fork_and_die(release: str) -> None:
    """Its child holds every descriptor open, also after its own death."""
    if os.fork() == 0:
        nap(release)
        os._exit(0)
    os._exit(3)


def fork_and_return() -> str:
    return "child" if os.fork() == 0 else "parent"


def close_all() -> None:
    os.closerange(3, 1000)


def close_standard() -> None:
    print("to standard output", flush=True)
    os.closerange(0, 3)


_kept: list[bytes] = []


def grow(megabytes: int) -> int:
    _kept.append(b"x" * (megabytes << 20))
    return os.getpid()


def echo(data: bytes) -> bytes:
    return data


def swallow(begun: str) -> str:
    """Catches Stopped once, and returns."""
    try:
        Path(begun).touch()
        time.sleep(60)
    except Stopped:
        return "caught"
    return "not told"


def start_child(command: list[str]) -> int:
    """The exit status of a program that is sent SIGTERM."""
    with subprocess.Popen(command) as child:
        child.terminate()
        return child.wait()


def fork_child() -> int:
    """The exit code of a forked process that is sent SIGTERM."""
    child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
    child.start()
    child.terminate()
    child.join()
    return int(child.exitcode or 0)
