"""Coroutine jobs that wait: 2,000 of 50 ms at concurrency 100, which take 1.0 s at best, beside a semaphore in asyncio."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

from bench import jobs
from bench.figure import Figure, Plan, Tell
from bench.place import at, drained, folder, url

NUMBER = 2000
CONCURRENCY = 100


def figures(plan: Plan, tell: Tell) -> Iterator[Figure]:
    ours, bare = [], []
    for turn in range(plan.repeat):
        tell(f"jobs that wait {turn + 1}/{plan.repeat}")
        bare.append(asyncio.run(bare_asyncio()))
        ours.append(waiting_jobs())
    yield Figure(
        f"{NUMBER:,} jobs of {jobs.NAP * 1e3:g} ms sleep",
        "s",
        ours,
        1.1,
        least=False,
        ours=ours,
        peer=bare,
        peer_name="asyncio with a semaphore",
        side_unit="s",
        entry=f"concurrency {CONCURRENCY}, ideal {NUMBER * jobs.NAP / CONCURRENCY:g} s",
    )


def waiting_jobs() -> float:
    with folder() as path:
        address = url(path, "full")
        with at(address):
            jobs.nap.enqueue_many(() for _ in range(NUMBER))
        return drained(address, NUMBER)


async def bare_asyncio() -> float:
    slots = asyncio.Semaphore(CONCURRENCY)

    async def one() -> None:
        async with slots:
            await asyncio.sleep(jobs.NAP)

    begun = time.perf_counter()
    await asyncio.gather(*[one() for _ in range(NUMBER)])
    return time.perf_counter() - begun
