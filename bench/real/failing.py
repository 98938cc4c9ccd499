"""Jobs of which one in ten fails at its first attempt and is tried again at once, its traceback kept meanwhile."""

from __future__ import annotations

from collections.abc import Iterator

from bench.figure import Figure, Plan, Tell
from bench.real.drain import beside
from bench.real.jobs import ONE_IN, failing

NUMBER = 30_000


def figures(plan: Plan, tell: Tell) -> Iterator[Figure]:
    what = f"{NUMBER:,} jobs, {100 // ONE_IN} % of them fail and are retried"
    yield from beside(what, plan, tell, "failing", NUMBER, lambda number: failing.enqueue_many((n,) for n in range(number)))
