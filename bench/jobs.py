"""The tasks that are measured. The broker comes by LONGBOAT_URL."""

from __future__ import annotations

import asyncio
import time

from longboat import Longboat

app = Longboat()

NAP = 0.05
BURN = 0.02


@app.task
async def noop() -> None:
    """Nothing, and the result is kept for the default hour."""


@app.task(keep_result=0)
async def forgotten() -> None:
    """Nothing, and nothing is kept."""


@app.task(keep_result=0)
async def sized(data: bytes) -> None:
    """Takes its argument."""


@app.task
async def nap() -> None:
    await asyncio.sleep(NAP)


def burn() -> int:
    """BURN seconds of this thread's CPU time, so that other load on the machine changes no job's work."""
    until, turns = time.thread_time() + BURN, 0
    while time.thread_time() < until:
        turns += 1
    return turns


burned = app.task(name="bench.jobs.burn", executor="process")(burn)


@app.task
async def step(number: int) -> int:
    return number + 1


@app.task
async def total(numbers: list[int]) -> int:
    return sum(numbers)
