"""Enqueueing: one at a time beside a bare script call, a thousand coroutines at once, and in bulk beside bare RPUSHes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

from bench import jobs
from bench.figure import Figure, Plan, Tell, ratio
from bench.place import at, child
from bench.redis.limit import measure_single
from bench.redis.server import emptied, server

SINGLE = 5000
TOGETHER, ROUNDS = 1000, 20
BULK = 100_000


def figures(plan: Plan, tell: Tell) -> Iterator[Figure]:
    single, call, together, bulk, pushes = [], [], [], [], []
    with server() as url:
        for turn in range(plan.repeat):
            tell(f"enqueue {turn + 1}/{plan.repeat}")
            call.append(measure_single(emptied(url), SINGLE)[0])
            single.append(one_at_a_time(emptied(url)))
            together.append(concurrent(emptied(url)))
            pushes.append(child("bench.redis.limit", emptied(url), BULK)[1])
            bulk.append(in_bulk(emptied(url)))
    yield ratio("enqueue one at a time", single, call, "bare redis-py script call", "jobs/s", goal=0.7)
    yield Figure(
        f"{TOGETHER:,} concurrent aenqueue", "jobs/s", together, 100_000, entry=f"{ROUNDS} times {TOGETHER:,} at once"
    )
    yield Figure(
        "bulk enqueue",
        "jobs/s",
        bulk,
        300_000,
        ours=bulk,
        peer=pushes,
        peer_name="bare RPUSH by 1,000",
        side_unit="jobs/s",
    )


def one_at_a_time(url: str) -> float:
    with at(url):
        jobs.noop.enqueue()
        begun = time.perf_counter()
        for _ in range(SINGLE):
            jobs.noop.enqueue()
        return SINGLE / (time.perf_counter() - begun)


def concurrent(url: str) -> float:
    async def enqueue() -> float:
        await jobs.noop.aenqueue()
        begun = time.perf_counter()
        for _ in range(ROUNDS):
            await asyncio.gather(*[jobs.noop.aenqueue() for _ in range(TOGETHER)])
        return TOGETHER * ROUNDS / (time.perf_counter() - begun)

    with at(url):
        return asyncio.run(enqueue())


def in_bulk(url: str) -> float:
    with at(url):
        jobs.noop.enqueue()
        begun = time.perf_counter()
        jobs.noop.enqueue_many(() for _ in range(BULK))
        return BULK / (time.perf_counter() - begun)
