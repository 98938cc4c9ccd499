"""pgqueuer: https://pgqueuer.readthedocs.io."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pgqueuer
import uvloop
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver
from pgqueuer.queries import Queries

from bench.peers.driver import Driver, anoop_in, drive, url

TOGETHER = 1000


@asynccontextmanager
async def main() -> AsyncIterator[PgQueuer]:
    connection = await asyncpg.connect(url)
    made = PgQueuer(AsyncpgDriver(connection))
    made.entrypoint("noop")(anoop_in)
    yield made
    await connection.close()


async def put(number: int) -> None:
    connection = await asyncpg.connect(url)
    queries = Queries(AsyncpgDriver(connection))
    await queries.install()
    for start in range(0, number, TOGETHER):
        n = min(TOGETHER, number - start)
        await queries.enqueue(["noop"] * n, [None] * n, [0] * n)
    await connection.close()


driver = Driver(
    "pgqueuer",
    "batches of 100, asyncpg, uvloop, by its `run` function",
    at_least_once=True,
    put=lambda number: asyncio.run(put(number)),
    worker=["python", "-m", "bench.postgres.peers.pgqueuer", "run"],
)

if __name__ == "__main__":
    if sys.argv[1:] == ["run"]:
        uvloop.run(pgqueuer.run(main, batch_size=100))
    else:
        drive(driver)
