"""On a Redis server of its own."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from bench import jobs
from bench.events import drain
from bench.events.drain import Fill
from bench.figure import Figure, Plan, Tell
from bench.redis.place import fill
from bench.redis.server import emptied, server


def figures(plan: Plan, tell: Tell) -> Iterator[Figure]:
    with server() as address:
        yield from drain.figures(plan, tell, "Redis", filled(address))


def filled(address: str) -> Fill:
    @contextlib.contextmanager
    def filled_with(number: int) -> Iterator[str]:
        yield fill(emptied(address), jobs.noop, number)

    return filled_with
