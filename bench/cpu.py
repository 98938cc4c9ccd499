"""CPU-bound jobs: 200 of 20 ms in two child processes, beside concurrent.futures.ProcessPoolExecutor(2); both warm."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from bench import jobs
from bench.figure import Figure, Plan, Tell, ratio
from bench.place import WORKER, at, folder, started, url
from longboat import gather
from longboat.tasks.task import Task

NUMBER = 200
CHILDREN = 2


def figures(plan: Plan, tell: Tell) -> Iterator[Figure]:
    ours, pool = [], []
    for turn in range(plan.repeat):
        tell(f"CPU-bound jobs {turn + 1}/{plan.repeat}")
        pool.append(in_pool(jobs.burn, NUMBER))
        with folder() as path, at(address := url(path, "full")):
            ours.append(in_worker(address, jobs.burned, NUMBER))
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


def in_worker(address: str, task: Task[[], int], number: int, command: list[str] = WORKER) -> float:
    """Seconds, by a worker with two children. The app of bench/jobs.py is there already."""
    with started(command, address):
        gather(*task.enqueue_many(() for _ in range(CHILDREN * 2))).result(60)
        begun = time.perf_counter()
        gather(*task.enqueue_many(() for _ in range(number))).result(60)
        return time.perf_counter() - begun


def in_pool(function: Callable[[], int], number: int) -> float:
    with ProcessPoolExecutor(CHILDREN, mp_context=get_context("spawn")) as pool:
        for future in [pool.submit(function) for _ in range(CHILDREN * 2)]:
            future.result()
        begun = time.perf_counter()
        for future in [pool.submit(function) for _ in range(number)]:
            future.result()
        return time.perf_counter() - begun
