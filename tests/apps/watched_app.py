"""What the worker of test_watched.py runs; its broker comes by LONGBOAT_URL."""

from __future__ import annotations

import asyncio
import time

from longboat import Longboat, current

app = Longboat()


@app.task(name="add")
async def add(a: int, b: int) -> int:
    return a + b


@app.task(name="talk")
def talk() -> None:
    current().progress(3, 10, "three")
    current().log("I am at three")
    time.sleep(0.6)  # progress is told of what runs


@app.task(name="flaky", retries=1, backoff=[0.01])
def flaky() -> int:
    if current().attempt == 1:
        raise KeyError("the first time")
    return 7


@app.task(name="broken")
async def broken(row: int) -> None:
    raise ValueError(f"no row {row}")


@app.task(name="hold")
async def hold() -> None:
    await asyncio.sleep(60)
