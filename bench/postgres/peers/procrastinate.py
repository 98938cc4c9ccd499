"""procrastinate: https://procrastinate.readthedocs.io."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from procrastinate import App, PsycopgConnector

from bench.peers.driver import Driver, anoop, drive, url

TOGETHER = 1000
logging.getLogger("procrastinate").setLevel(logging.ERROR)  # it warns of a driver that runs as a program
app = App(connector=PsycopgConnector(conninfo=url, min_size=2, max_size=10))
noop = app.task(name="noop")(anoop)


async def retry_stalled_jobs(_context: Any, **_timestamp: Any) -> None:
    """What its manual gives for jobs of killed workers, which it does not run again by itself."""
    for job in await app.job_manager.get_stalled_jobs():
        await app.job_manager.retry_job(job)


app.periodic(cron="*/10 * * * *")(app.task(queueing_lock="retry_stalled_jobs", pass_context=True)(retry_stalled_jobs))


async def put(number: int) -> None:
    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        for start in range(0, number, TOGETHER):
            await noop.batch_defer_async(*[{} for _ in range(min(TOGETHER, number - start))])


driver = Driver(
    "procrastinate",
    "concurrency 10, retry_stalled_jobs as in its manual, done jobs deleted",
    at_least_once=True,
    put=lambda number: asyncio.run(put(number)),
    worker=[
        *("procrastinate", "--log-level", "critical", "-a", "bench.postgres.peers.procrastinate.app"),
        *("worker", "-c", "10", "--delete-jobs", "successful"),
    ],
)

if __name__ == "__main__":
    drive(driver)
