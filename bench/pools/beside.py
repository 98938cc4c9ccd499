"""`longboat.Executor` beside ProcessPoolExecutor, both with two warm children: tiny calls in chunks, and calls of 20 ms."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from multiprocessing import get_context

from bench.figure import Figure, Plan, Tell
from bench.jobs import BURN, burn
from longboat import Executor as OurExecutor

CHILDREN = 2
TINY = 10_000
CHUNK = 100
NUMBER = 200

Work = Callable[[Executor], None]


def successor(number: int) -> int:
    return number + 1


def tiny(pool: Executor) -> None:
    assert sum(pool.map(successor, range(TINY), chunksize=CHUNK)) == TINY * (TINY + 1) // 2


def busy(pool: Executor) -> None:
    for future in [pool.submit(burn) for _ in range(NUMBER)]:
        future.result()


def figures(plan: Plan, tell: Tell) -> Iterator[Figure]:
    works: list[tuple[str, Work, float]] = [
        (f"map of {TINY:,} tiny calls, chunks of {CHUNK}", tiny, 0.7),
        (f"{NUMBER} calls of {BURN * 1e3:g} ms CPU", busy, 0.97),
    ]
    for name, work, goal in works:
        ours, theirs = [], []
        for turn in range(plan.repeat):
            tell(f"{name} {turn + 1}/{plan.repeat}")
            with ProcessPoolExecutor(CHILDREN, mp_context=get_context("forkserver")) as pool:
                theirs.append(seconds(pool, work))
            with OurExecutor(workers=CHILDREN) as our_pool:
                ours.append(seconds(our_pool, work))
        speeds = [their / our for our, their in zip(ours, theirs, strict=True)]
        entry = f"{CHILDREN} children; its time through ours, from the first call to the last result"
        yield Figure(name, "of its speed", speeds, goal, True, ours, theirs, "ProcessPoolExecutor", "s", entry)


def seconds(pool: Executor, work: Work) -> float:
    for future in [pool.submit(burn) for _ in range(CHILDREN * 2)]:  # so that every child is there
        future.result()
    begun = time.perf_counter()
    work(pool)
    return time.perf_counter() - begun
