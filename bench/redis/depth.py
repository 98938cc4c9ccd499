"""Depth: how fast 50,000 jobs are drained with 1,000,000 ready or delayed, beside the same with only these 50,000."""

from __future__ import annotations

from collections.abc import Iterator

from bench.figure import Figure, Plan, Tell, ratio
from bench.jobs import forgotten
from bench.redis.place import drained, fill
from bench.redis.server import emptied, server

DEEP = 1_000_000
NUMBER = 50_000


def figures(plan: Plan, tell: Tell) -> Iterator[Figure]:
    deep = DEEP // 10 if plan.quick else DEEP
    with server() as url, server() as other:
        for kind, task in (("ready", forgotten), ("delayed", forgotten.using(delay=3600))):
            tell(f"depth: {deep:,} {kind} jobs are put")
            fill(emptied(url), task, deep)
            laden, alone = [], []
            for turn in range(plan.repeat):
                tell(f"depth, {kind} {turn + 1}/{plan.repeat}")
                alone.append(NUMBER / drained(fill(emptied(other), forgotten, NUMBER), NUMBER))
                laden.append(NUMBER / drained(fill(url, forgotten, NUMBER), NUMBER))
            yield ratio(
                f"drain with {deep:,} {kind}",
                laden,
                alone,
                f"with {NUMBER:,} ready",
                "jobs/s",
                goal=0.8,
                entry="keep_result=0",
            )
