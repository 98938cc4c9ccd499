"""Jobs of 5 ms of computing in two child processes, beside concurrent.futures.ProcessPoolExecutor(2); both warm."""

from __future__ import annotations

from collections.abc import Iterator

from bench.cpu import CHILDREN, in_pool, in_worker
from bench.figure import Figure, Plan, Tell, ratio
from bench.place import at
from bench.real.drain import command
from bench.real.jobs import BURN, compute, computed
from bench.redis.server import emptied, server

NUMBER = 600


def figures(plan: Plan, tell: Tell) -> Iterator[Figure]:
    ours, pool = [], []
    number = NUMBER // 5 if plan.quick else NUMBER
    with server() as url:
        for turn in range(plan.repeat):
            tell(f"computing {turn + 1}/{plan.repeat}")
            pool.append(in_pool(compute, number))
            with at(emptied(url)):
                ours.append(in_worker(url, computed, number, command(100)))
    what = f"{NUMBER} jobs of {BURN * 1e3:g} ms CPU, their time"
    entry = f"{CHILDREN} children; from the first enqueue to the last result"
    yield ratio(what, ours, pool, "ProcessPoolExecutor", "s", goal=1, least=False, entry=entry)
