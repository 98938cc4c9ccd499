"""Tasks that speak while they run: one of each kind of executor."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from pathlib import Path

import longboat
from longboat import Longboat

app = Longboat("memory://")
log = logging.getLogger("myapp")


def _speak(folder: str) -> None:
    job = longboat.current()
    for n in range(500):
        job.progress(n, 500, "reading")
    job.log("half way")
    log.warning("a warning of %s", "mine")
    deadline = time.monotonic() + 20
    while not (Path(folder) / "go").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    job.progress(500, 500, "done")


@app.task(executor="thread")
def in_thread(folder: str) -> None:
    _speak(folder)


@app.task(executor="process")
def in_process(folder: str) -> None:
    _speak(folder)


@app.task
async def in_loop(folder: str) -> None:
    await asyncio.to_thread(_speak, folder)


def _count(folder: str, name: str) -> list[int]:
    with (Path(folder) / name).open("a") as file:
        file.write("x")
    return [len((Path(folder) / name).read_text())]


async def _acount(folder: str, name: str) -> list[int]:
    return _count(folder, name)


def _steps(folder: str) -> list[int]:
    job = longboat.current()
    first = job.step("first", _count, folder, "first")
    if job.attempt == 1:
        raise RuntimeError("between the steps")
    second = job.step("second", _count, folder, "second")
    if job.attempt == 2:
        os._exit(3) if job.task.endswith("process") else None
        raise RuntimeError("after the steps")
    return first + second


@app.task(executor="thread", retries=3, backoff=0.0)
def steps_in_thread(folder: str) -> list[int]:
    return _steps(folder)


@app.task(executor="process", retries=3, backoff=0.0)
def steps_in_process(folder: str) -> list[int]:
    return _steps(folder)


@app.task(retries=3, backoff=0.0)
async def steps_in_loop(folder: str) -> list[int]:
    job = longboat.current()
    first = await job.step("first", _acount, folder, "first")
    if job.attempt == 1:
        raise RuntimeError("between the steps")
    return first + await job.step("second", _acount, folder, "second")


@app.task
async def parent(folder: str) -> str:
    return longboat.current().enqueue(in_loop, folder).id


@app.task(executor="process", timeout=1.0)
def speaks_for_ever() -> None:
    while True:
        longboat.current().progress(1)


def report(n: int) -> None:
    for i in range(n):
        longboat.current().progress(i + 1, n)


async def areport(n: int) -> None:
    report(n)
