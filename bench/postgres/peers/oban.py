"""oban: https://oban.pro/docs/py."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import uvloop
from oban import Oban, worker
from oban.schema import install

from bench.peers.driver import Driver, anoop_in, drive, url

TOGETHER = 1000


class Noop:
    async def process(self, job: Any) -> None:
        await anoop_in(job)


work_of: Any = worker(queue="default")(Noop)


async def put(number: int) -> None:
    pool = await Oban.create_pool(url)
    await install(pool)
    async with Oban(pool=pool) as oban:
        for start in range(0, number, TOGETHER):
            await oban.enqueue_many([work_of.new({}) for _ in range(min(TOGETHER, number - start))])
    await pool.close()


async def work() -> None:
    pool = await Oban.create_pool(url, max_size=10)
    async with Oban(pool=pool, queues={"default": 100}):
        await asyncio.Event().wait()


driver = Driver(
    "oban",
    "limit 100, within a program of its own, uvloop, Python 3.12 or newer; done jobs kept for a day",
    at_least_once=True,
    put=lambda number: asyncio.run(put(number)),
    worker=["python", "-m", "bench.postgres.peers.oban", "run"],
)

if __name__ == "__main__":
    if sys.argv[1:] == ["run"]:
        uvloop.run(work())
    else:
        drive(driver)
