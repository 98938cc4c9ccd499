"""Jobs with arguments of 1 kB and of 100 kB, which the function is given."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from bench.figure import Figure, Plan, Tell
from bench.real.drain import beside
from bench.real.jobs import sized

SIZES = {"1 kB": (1_000, 40_000), "100 kB": (100_000, 2_000)}
"""Bytes of the argument, and how many jobs have it."""


def figures(plan: Plan, tell: Tell) -> Iterator[Figure]:
    for name, (size, number) in SIZES.items():
        yield from beside(f"{number:,} jobs of {name}", plan, tell, "arguments", number, partial(put, size), size)


def put(size: int, number: int) -> None:
    sized.enqueue_many((b"\xff" * size,) for _ in range(number))
