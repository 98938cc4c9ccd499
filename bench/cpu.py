"""CPU-bound jobs: 200 of 20 ms in two child processes, beside concurrent.futures.ProcessPoolExecutor(2); both warm."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from bench import jobs
from bench.figure import Figure, Plan, Tell, ratio
from bench.place import at, folder, url, worker
from longboat import gather

NUMBER = 200
CHILDREN = 2


def figures(plan: Plan, tell: Tell) -> Iterator[Figure]:
    ours, pool = [], []
    for turn in range(plan.repeat):
        tell(f"CPU-bound jobs {turn + 1}/{plan.repeat}")
        pool.append(in_pool())
        ours.append(in_worker())
    yield ratio(
        f"{NUMBER} jobs of {jobs.BURN * 1e3:g} ms CPU",
        ours,
        pool,
        "ProcessPoolExecutor",
        "s",
        goal=1.05,
        least=False,
        entry=f"{CHILDREN} children; from the first enqueue to the last result",
    )


def in_worker() -> float:
    with folder() as path, at(url(path, "full")), worker(url(path, "full")):
        gather(*jobs.burned.enqueue_many(() for _ in range(CHILDREN * 2))).result(60)
        begun = time.perf_counter()
        gather(*jobs.burned.enqueue_many(() for _ in range(NUMBER))).result(60)
        return time.perf_counter() - begun


def in_pool() -> float:
    with ProcessPoolExecutor(CHILDREN, mp_context=get_context("spawn")) as pool:
        for future in [pool.submit(jobs.burn) for _ in range(CHILDREN * 2)]:
            future.result()
        begun = time.perf_counter()
        for future in [pool.submit(jobs.burn) for _ in range(NUMBER)]:
            future.result()
        return time.perf_counter() - begun
