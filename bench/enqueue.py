"""Enqueueing: in bulk through `Task.enqueue_many`, beside bare inserts; and how many commits 1,000 concurrent calls take."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Iterator

from bench import jobs
from bench.figure import Figure, Plan, Tell
from bench.place import MODES, at, child, folder, url

NUMBER = 100_000
TOGETHER = 1000


def figures(plan: Plan, tell: Tell) -> Iterator[Figure]:
    for mode in MODES:
        bulk, bare = [], []
        for turn in range(plan.repeat):
            tell(f"bulk enqueue {mode.upper()} {turn + 1}/{plan.repeat}")
            bare.append(child("bench.limit", NUMBER, mode)[1])
            bulk.append(in_bulk(mode))
        yield Figure(
            f"bulk enqueue, {mode.upper()}",
            "jobs/s",
            bulk,
            200_000,
            ours=bulk,
            peer=bare,
            peer_name="bare inserts by 1,000",
            side_unit="jobs/s",
        )
    tell(f"{TOGETHER:,} concurrent aenqueue")
    commits = [float(together()) for _ in range(plan.repeat)]
    yield Figure(f"{TOGETHER:,} concurrent aenqueue", "commits", commits, 20, least=False)


def in_bulk(mode: str) -> float:
    with folder() as path, at(url(path, mode)):
        jobs.noop.enqueue()
        begun = time.perf_counter()
        jobs.noop.enqueue_many(() for _ in range(NUMBER))
        return NUMBER / (time.perf_counter() - begun)


def together() -> int:
    """Each put is one commit, and is numbered in the store."""

    async def enqueue() -> None:
        await asyncio.gather(*[jobs.noop.aenqueue() for _ in range(TOGETHER)])

    with folder() as path:
        with at(url(path, "full")):
            asyncio.run(enqueue())
        db = sqlite3.connect(path / "jobs.db")
        puts: int = db.execute("SELECT sum(number) FROM longboat_puts").fetchone()[0]
        db.close()
        return puts
