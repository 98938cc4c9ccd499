"""Enqueueing: one at a time and in bulk, through the task's own calls, beside bare inserts."""

from __future__ import annotations

import time
from collections.abc import Iterator

from bench import jobs
from bench.figure import Figure, Plan, Tell, ratio
from bench.place import at
from bench.postgres.drain import emptied, server
from bench.postgres.limit import PUT, measure_puts

SINGLE = 2000
BULK = 100_000


def figures(plan: Plan, tell: Tell) -> Iterator[Figure]:
    single, call, bulk, inserts = [], [], [], []
    part = 5 if plan.quick else 1
    with server() as made:
        for turn in range(plan.repeat):
            tell(f"enqueue {turn + 1}/{plan.repeat}")
            call.append(measure_puts(emptied(made), SINGLE // part, 1))
            single.append(one_at_a_time(emptied(made), SINGLE // part))
            inserts.append(measure_puts(emptied(made), BULK // part, PUT))
            bulk.append(in_bulk(emptied(made), BULK // part))
    yield ratio("enqueue one at a time", single, call, "bare INSERT", "jobs/s", entry="each is a commit")
    yield ratio("bulk enqueue", bulk, inserts, f"bare INSERT by {PUT:,}", "jobs/s", entry="enqueue_many, handles made")


def one_at_a_time(url: str, number: int) -> float:
    """Jobs a second."""
    with at(url):
        jobs.noop.enqueue()
        begun = time.perf_counter()
        for _ in range(number):
            jobs.noop.enqueue()
        return number / (time.perf_counter() - begun)


def in_bulk(url: str, number: int) -> float:
    """Jobs a second."""
    with at(url):
        jobs.noop.enqueue()
        begun = time.perf_counter()
        jobs.noop.enqueue_many(() for _ in range(number))
        return number / (time.perf_counter() - begun)
