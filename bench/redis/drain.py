"""Draining: no-op jobs from a queue filled before, by one worker process, beside the limit loop on the same server.

The loop keeps no results: the goal beside it is for jobs that keep none either.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from bench.figure import Figure, Plan, Tell, ratio
from bench.jobs import forgotten, noop
from bench.place import child
from bench.redis.jobs import plain, plain_forgotten
from bench.redis.place import drained, fill
from bench.redis.server import emptied, server
from longboat.tasks.task import Task

NUMBERS = (20_000, 200_000)
KEPT = PLAIN = 60_000


def figures(plan: Plan, tell: Tell) -> Iterator[Figure]:
    with server() as url:
        for number in NUMBERS[: 1 if plan.quick else None]:
            limit, bare, kept, threads, threads_kept = [], [], [], [], []
            for turn in range(plan.repeat):
                tell(f"drain {number:,} {turn + 1}/{plan.repeat}")
                limit.append(child("bench.redis.limit", emptied(url), number)[0])
                bare.append(rate(forgotten, number, url))
                kept.append(rate(noop, number, url))
                threads.append(rate(plain_forgotten, number, url))
                threads_kept.append(rate(plain, number, url))
            what = f"drain {number:,}"
            yield ratio(what, bare, limit, "hand-written loop", "jobs/s", goal=0.6, entry="coroutines, keep_result=0")
            yield Figure(f"{what}, results kept", "jobs/s", kept, KEPT, entry="coroutines, kept for an hour, the default")
            yield Figure(f"{what}, threads", "jobs/s", threads, PLAIN, entry="plain functions, keep_result=0")
            yield Figure(f"{what}, threads, results kept", "jobs/s", threads_kept, entry="plain functions, the default")


def rate(task: Task[[], Any], number: int, url: str) -> float:
    """Jobs a second."""
    return number / drained(fill(emptied(url), task, number), number)
