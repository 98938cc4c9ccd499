"""The tasks, in the app of bench/jobs.py."""

from __future__ import annotations

import asyncio
import time

from bench.jobs import app, sized
from longboat import current

__all__ = ["app", "sized"]

NAP = 0.001
BURN = 0.005
ONE_IN = 10
"""Of so many jobs one fails, at its first attempt."""


@app.task(keep_result=0)
async def nap() -> None:
    await asyncio.sleep(NAP)


def compute() -> int:
    """BURN seconds of this thread's CPU time, so that other load on the machine changes no job's work."""
    until, turns = time.thread_time() + BURN, 0
    while time.thread_time() < until:
        turns += 1
    return turns


computed = app.task(name="bench.real.computed", executor="process")(compute)


@app.task(keep_result=0, retries=1, backoff=[0.0])
async def failing(number: int) -> None:
    if number % ONE_IN == 0 and current().attempt == 1:
        raise ConnectionError("the first attempt of one in ten")
