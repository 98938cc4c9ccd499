"""The app of the fault tests about flows, schedules and scale: each run is a line in a log."""

from __future__ import annotations

import asyncio
import os
import time

from longboat import Limit, Longboat, current, every

app = Longboat(os.environ["LONGBOAT_URL"])
_log = os.open(os.environ["FAULT_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)


def entry(event: str) -> None:
    job = current()
    os.write(_log, f"{event} {job.id} {os.getpid()} {job.attempt} {time.time():.3f}\n".encode())


@app.task(retries=50, backoff=0.0)
async def step(number: int) -> int:
    entry("start")
    await asyncio.sleep(0.01)
    entry("end")
    return number + 1


@app.task(retries=50, backoff=0.0)
async def total(numbers: list[int]) -> int:
    entry("total")
    await asyncio.sleep(0.02)
    return sum(numbers)


@app.task(limit=Limit(key="{key}", running=2), retries=50, backoff=0.0)
async def narrow(key: str) -> None:
    entry(f"in-{key}")
    await asyncio.sleep(0.05)
    entry(f"out-{key}")


if os.environ.get("FAULT_TICKS"):

    @app.schedule(every("1s"))
    @app.task
    async def tick() -> None:
        entry("tick")


@app.task
async def hold(seconds: float) -> None:
    entry("start")
    await asyncio.sleep(seconds)
    entry("end")
