"""taskiq on a Redis stream, its results kept: https://taskiq-python.github.io."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from taskiq_redis import RedisAsyncResultBackend, RedisStreamBroker

from bench.latency.due import note
from bench.latency.load import Side, answered, run
from bench.peers.driver import Driver, drive, url

LOOK = 0.005
"""Seconds between two looks for a result; its own 0.2 would be all that is measured."""

broker = RedisStreamBroker(url, xread_count=100).with_result_backend(RedisAsyncResultBackend(url, result_ex_time=3600))


async def timed(due: float) -> None:
    note(due)


task = broker.task(task_name="timed")(timed)


async def put(dues: Sequence[float]) -> None:
    await asyncio.gather(*[task.kiq(due) for due in dues])


async def ask(due: float) -> None:
    await (await task.kiq(due)).wait_result(check_interval=LOOK, timeout=30)


async def load() -> None:
    await broker.startup()
    await answered(Side(put, ask))
    await broker.shutdown()


driver = Driver(
    "taskiq",
    f"a stream; one process, 100 async tasks, 100 messages a read; results kept, looked for each {LOOK * 1e3:g} ms",
    at_least_once=True,
    worker=[
        *("taskiq", "worker", "--workers", "1", "--max-async-tasks", "100"),
        *("--log-level", "ERROR", "bench.latency.peers.taskiq:broker"),
    ],
    load=lambda: run(load()),
)

if __name__ == "__main__":
    drive(driver)
