"""Depth: how fast the first 20,000 jobs are drained with 1,000,000 queued, beside the same with only these 20,000."""

from __future__ import annotations

from collections.abc import Iterator

from bench import jobs
from bench.figure import Figure, Plan, Tell, ratio
from bench.place import at, drained, folder, url

DEEP = 1_000_000
NUMBER = 20_000


def figures(plan: Plan, tell: Tell) -> Iterator[Figure]:
    queued = DEEP // 10 if plan.quick else DEEP
    deep, shallow = [], []
    with folder() as path:
        address = url(path, "full")
        tell(f"depth: {queued:,} jobs are put")
        with at(address):
            jobs.noop.enqueue_many(() for _ in range(queued))
        for turn in range(plan.repeat):
            tell(f"depth {turn + 1}/{plan.repeat}")
            shallow.append(alone())
            deep.append(NUMBER / drained(address, NUMBER))
    yield ratio(f"drain with {queued:,} queued", deep, shallow, f"with {NUMBER:,} queued", "jobs/s", goal=0.8, entry="FULL")


def alone() -> float:
    with folder() as path:
        address = url(path, "full")
        with at(address):
            jobs.noop.enqueue_many(() for _ in range(NUMBER))
        return NUMBER / drained(address, NUMBER)
