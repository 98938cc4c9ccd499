"""streaq: https://streaq.readthedocs.io."""

from __future__ import annotations

import asyncio

from streaq import Worker

from bench.peers.driver import Driver, anoop, drive, url

BATCH = 1000

worker = Worker(redis_url=url, concurrency=10, anyio_kwargs={"use_uvloop": True})
task = worker.task(name="noop", ttl=0, silent=True)(anoop)


async def put(number: int) -> None:
    async with worker:
        for start in range(0, number, BATCH):
            await worker.enqueue_many([task.enqueue() for _ in range(min(BATCH, number - start))])


driver = Driver(
    "streaq",
    "concurrency 10, ttl 0, silent, uvloop",
    at_least_once=True,
    put=lambda number: asyncio.run(put(number)),
    worker=["streaq", "run", "-w", "1", "bench.redis.peers.streaq:worker"],
)

if __name__ == "__main__":
    drive(driver)
