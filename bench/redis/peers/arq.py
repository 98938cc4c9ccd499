"""arq: https://arq-docs.helpmanual.io."""

from __future__ import annotations

import asyncio

import uvloop
from arq import create_pool, func
from arq.connections import RedisSettings

from bench.peers.driver import Driver, anoop_in, drive, enqueued, url

asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
redis_settings = RedisSettings.from_dsn(url)
quiet = {"version": 1, "disable_existing_loggers": False, "loggers": {"arq": {"level": "WARNING"}}}


class WorkerSettings:
    functions = (func(anoop_in, name="noop"),)
    redis_settings = redis_settings
    max_jobs = 100
    poll_delay = 0.01
    keep_result = 0


async def put(number: int) -> None:
    pool = await create_pool(redis_settings)
    await enqueued(lambda: pool.enqueue_job("noop"), number)
    await pool.aclose()


driver = Driver(
    "arq",
    "max_jobs 100, poll_delay 10 ms, uvloop",
    at_least_once=True,
    put=lambda number: asyncio.run(put(number)),
    worker=["arq", "bench.redis.peers.arq.WorkerSettings", "--custom-log-dict", "bench.redis.peers.arq.quiet"],
)

if __name__ == "__main__":
    drive(driver)
