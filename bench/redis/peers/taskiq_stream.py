"""taskiq on a Redis stream, which it acknowledges: https://taskiq-python.github.io."""

from __future__ import annotations

import asyncio

from taskiq_redis import RedisStreamBroker

from bench.peers.driver import Driver, anoop, drive, enqueued, url

broker = RedisStreamBroker(url, xread_count=100)
task = broker.task(task_name="noop")(anoop)


async def put(number: int) -> None:
    await broker.startup()
    await enqueued(task.kiq, number)
    await broker.shutdown()


driver = Driver(
    "taskiq",
    "one process, 100 async tasks, 100 messages a read, acknowledged when saved (the default)",
    at_least_once=True,
    put=lambda number: asyncio.run(put(number)),
    worker=[
        *("taskiq", "worker", "--workers", "1", "--max-async-tasks", "100"),
        *("--log-level", "ERROR", "bench.redis.peers.taskiq_stream:broker"),
    ],
)

if __name__ == "__main__":
    drive(driver)
