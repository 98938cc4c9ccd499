"""Draining: no-op coroutine jobs from a queue filled before, by one worker process, beside the limit loop.

Judged with the default retention: every job's end and result is kept, which the limit loop does not do.
"""

from __future__ import annotations

from collections.abc import Iterator

from bench import jobs
from bench.figure import Figure, Plan, Tell, ratio
from bench.place import MODES, at, child, drained, folder, url

NUMBERS = (20_000, 200_000)


def figures(plan: Plan, tell: Tell) -> Iterator[Figure]:
    for number in NUMBERS[: 1 if plan.quick else None]:
        for mode in MODES:
            limit, kept, forgotten = [], [], []
            for turn in range(plan.repeat):
                tell(f"drain {number:,} {mode.upper()} {turn + 1}/{plan.repeat}")
                limit.append(child("bench.limit", number, mode)[0])
                kept.append(rate("noop", number, mode))
                forgotten.append(rate("forgotten", number, mode))
            what = f"drain {number:,}, {mode.upper()}"
            yield ratio(what, kept, limit, "hand-written loop", "jobs/s", goal=0.5, entry="results kept, the default")
            yield ratio(f"{what}, keep_result=0", forgotten, limit, "hand-written loop", "jobs/s")


def rate(task: str, number: int, mode: str) -> float:
    """Jobs a second."""
    with folder() as path:
        address = url(path, mode)
        with at(address):
            getattr(jobs, task).enqueue_many(() for _ in range(number))
        return number / drained(address, number)
