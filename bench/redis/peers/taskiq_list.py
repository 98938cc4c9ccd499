"""taskiq on a Redis list, which it pops: https://taskiq-python.github.io."""

from __future__ import annotations

import asyncio

from taskiq_redis import ListQueueBroker

from bench.peers.driver import Driver, anoop, drive, enqueued, url

broker = ListQueueBroker(url)
task = broker.task(task_name="noop")(anoop)


async def put(number: int) -> None:
    await broker.startup()
    await enqueued(task.kiq, number)
    await broker.shutdown()


driver = Driver(
    "taskiq",
    "one process, 100 async tasks",
    at_least_once=False,
    put=lambda number: asyncio.run(put(number)),
    worker=[
        *("taskiq", "worker", "--workers", "1", "--max-async-tasks", "100"),
        *("--log-level", "ERROR", "bench.redis.peers.taskiq_list:broker"),
    ],
)

if __name__ == "__main__":
    drive(driver)
