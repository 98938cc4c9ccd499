"""Tasks for the worker's tests, at the top of a module so that child processes find them. `calls` tells what ran here."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

from longboat import Longboat, Stopped, current

calls: list[Any] = []
limit = threading.Event()


def declare(app: Longboat) -> Any:
    """The tasks, registered with `app`."""

    class Tasks:
        add = app.task(name="add")(a_add)
        square = app.task(name="square", executor="process")(square)
        thread = app.task(name="thread")(thread_add)
        fail = app.task(name="fail", retries=2, backoff=[0.01])(fail)
        picky = app.task(name="picky", retries=2, backoff=[0.01], retry_on=KeyError)(fail)
        nap = app.task(name="nap", timeout=0.2)(nap)
        doze = app.task(name="doze", timeout=0.2)(doze)
        spin = app.task(name="spin", timeout=0.2, executor="process")(spin)
        hold = app.task(name="hold")(hold)
        wait = app.task(name="wait")(wait)
        die = app.task(name="die", executor="process")(die)
        short = app.task(name="short")(a_short)
        short_thread = app.task(name="short_thread")(short_sync)
        short_process = app.task(name="short_process", executor="process")(short_sync)
        long = app.task(name="long")(a_long)
        long_thread = app.task(name="long_thread")(long_sync)
        long_process = app.task(name="long_process", executor="process")(long_sync)
        unserialisable = app.task(name="unserialisable")(unserialisable)

    return Tasks


async def a_add(a: int, b: int) -> int:
    return a + b


def thread_add(a: int, b: int) -> int:
    calls.append((a, b))
    return a + b


def count(to: int) -> None:
    for n in range(to + 1):
        current().progress(n, to)


async def count_async(to: int) -> None:
    count(to)


def square(x: int) -> int:
    return x * x


def fail(text: str) -> None:
    calls.append(current().attempt)
    raise ValueError(text)


async def nap() -> str:
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        calls.append("told")
        raise
    return "never"


def doze() -> str:
    while not current().stopping:
        time.sleep(0.005)
    calls.append("told")
    raise TimeoutError("as I was told")


def spin(marker: str) -> None:
    try:
        while True:
            time.sleep(0.01)
    except Stopped:
        Path(marker).touch()
        raise


def hold() -> str:
    """Runs until the gate is opened."""
    calls.append("held")
    limit.wait(30)
    return "released"


async def wait() -> None:
    calls.append("waiting")
    await asyncio.sleep(60)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def unserialisable() -> object:
    return object()


def short_sync(seconds: float = 0.001) -> None:
    time.sleep(seconds)


async def a_short(seconds: float = 0.001) -> None:
    await asyncio.sleep(seconds)


def long_sync(until: str) -> None:
    """Runs until this file is there; makes one beside it that tells of the start."""
    Path(f"{until}-{current().id}").touch()
    while not Path(until).exists():
        time.sleep(0.01)


async def a_long(until: str) -> None:
    while not Path(until).exists():  # a look takes microseconds
        await asyncio.sleep(0.01)
