"""Coroutines that wait 1 ms, 1,000 at a time: many more end in each turn of the loop than with jobs that do nothing."""

from __future__ import annotations

from collections.abc import Iterator

from bench.figure import Figure, Plan, Tell
from bench.real.drain import beside
from bench.real.jobs import nap

NUMBER = 40_000


def figures(plan: Plan, tell: Tell) -> Iterator[Figure]:
    what = f"{NUMBER:,} coroutines of 1 ms, 1,000 at a time"
    yield from beside(what, plan, tell, "naps", NUMBER, lambda number: nap.enqueue_many(() for _ in range(number)))
