"""saq: https://saq-py.readthedocs.io."""

from __future__ import annotations

import asyncio

import uvloop
from saq import Queue

from bench.peers.driver import Driver, anoop_in, drive, enqueued, url

asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
queue = Queue.from_url(url)
settings = {"queue": queue, "functions": [("noop", anoop_in)], "concurrency": 10}


async def put(number: int) -> None:
    await queue.connect()
    await enqueued(lambda: queue.enqueue("noop", ttl=-1, retries=3), number)
    await queue.disconnect()


driver = Driver(
    "saq",
    "concurrency 10, retries 3, without which a killed worker's job is only marked aborted; uvloop",
    at_least_once=True,
    put=lambda number: asyncio.run(put(number)),
    worker=["saq", "bench.redis.peers.saq.settings", "--workers", "1", "-q"],
)

if __name__ == "__main__":
    drive(driver)
