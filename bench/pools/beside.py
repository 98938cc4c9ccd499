"""`longboat.Executor` and `Pool` beside the standard library's, joblib's loky and dask: all with two warm child processes.

Tiny calls in chunks, calls of 20 ms, and 100 MB of arrays in and out. dask is measured where `distributed` is installed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from itertools import chain, islice
from multiprocessing import get_context
from typing import Any

import numpy as np

from bench.figure import Figure, Plan, Tell
from bench.jobs import BURN, burn
from longboat import Executor, Pool

CHILDREN = 2
TINY = 10_000
CHUNK = 100
NUMBER = 200
ARRAYS = 10
MEGABYTES = 10
"""Of each array."""

Map = Callable[[Callable[[Any], Any], Iterable[Any], int], list[Any]]
"""As `map(function, items, chunk size)`."""


def successor(number: int) -> int:
    return number + 1


def burnt(number: int) -> int:
    burn()
    return number


def doubled(array: Any) -> Any:
    return array * 2


def tiny(run: Map) -> None:
    assert sum(run(successor, range(TINY), CHUNK)) == TINY * (TINY + 1) // 2


def busy(run: Map) -> None:
    assert run(burnt, range(NUMBER), 1) == list(range(NUMBER))


def arrays(run: Map) -> None:
    made = [np.full(MEGABYTES * 125_000, n, dtype=float) for n in range(ARRAYS)]
    assert [array[-1] for array in run(doubled, made, 1)] == [2.0 * n for n in range(ARRAYS)]


# --- each side


@contextmanager
def of_executors(make: Callable[[], Any]) -> Iterator[Map]:
    with make() as pool:
        yield lambda fn, items, size: list(pool.map(fn, items, chunksize=size))


@contextmanager
def of_pools(make: Callable[[], Any]) -> Iterator[Map]:
    with make() as pool:
        yield lambda fn, items, size: list(pool.map(fn, items, size))


@contextmanager
def of_loky() -> Iterator[Map]:
    from joblib import Parallel, delayed

    def run(fn: Callable[[Any], Any], items: Iterable[Any], size: int) -> list[Any]:
        return list(Parallel(CHILDREN, backend="loky", batch_size=size)(delayed(fn)(item) for item in items))

    yield run


@contextmanager
def of_dask() -> Iterator[Map]:
    with import_module("distributed").Client(n_workers=CHILDREN, threads_per_worker=1, dashboard_address=None) as client:

        def run(fn: Callable[[Any], Any], items: Iterable[Any], size: int) -> list[Any]:
            cut = iter(items)
            chunks = iter(lambda: list(islice(cut, size)), [])  # its own batches are of messages, not of calls
            return list(chain.from_iterable(client.gather(client.map(partial(each, fn), list(chunks), pure=False))))

        yield run


def each(fn: Callable[[Any], Any], items: list[Any]) -> list[Any]:
    return [fn(item) for item in items]


Side = Callable[[], AbstractContextManager[Map]]

CONTEXT = get_context("forkserver")
OURS: dict[str, Side] = {
    "Executor": partial(of_executors, partial(Executor, workers=CHILDREN)),
    "Pool": partial(of_pools, partial(Pool, processes=CHILDREN)),
}
PICKLING: dict[str, Side] = {
    "Executor, pickle=True": partial(of_executors, partial(Executor, workers=CHILDREN, pickle=True)),
}
PEERS: dict[str, Side] = {
    "ProcessPoolExecutor": partial(of_executors, partial(ProcessPoolExecutor, CHILDREN, mp_context=CONTEXT)),
    "multiprocessing.Pool": partial(of_pools, partial(CONTEXT.Pool, CHILDREN)),
    "joblib's loky": of_loky,
    **({"dask.distributed": of_dask} if find_spec("distributed") else {}),
}


def figures(plan: Plan, tell: Tell) -> Iterator[Figure]:
    works: list[tuple[str, Callable[[Map], None], dict[str, Side], float | None]] = [
        (f"map of {TINY:,} tiny calls, chunks of {CHUNK}", tiny, {**OURS, **PICKLING}, 0.7),
        (f"{NUMBER} calls of {BURN * 1e3:g} ms CPU", busy, OURS, 0.97),
        (f"{ARRAYS} arrays of {MEGABYTES} MB in and out, by file", arrays, PICKLING, None),
    ]
    for name, work, ours, goal in works:
        times: dict[str, list[float]] = {}
        for turn in range(plan.repeat):
            for side, make in {**PEERS, **ours}.items():
                tell(f"{name}: {side}, {turn + 1}/{plan.repeat}")
                times.setdefault(side, []).append(seconds(make, work))
        for side in ours:
            for peer in PEERS:
                speeds = [their / our for our, their in zip(times[side], times[peer], strict=True)]
                judged = goal if peer == "ProcessPoolExecutor" else None
                entry = f"{CHILDREN} children; its time through ours, from the first call to the last result"
                yield Figure(
                    f"{side}: {name}", "of its speed", speeds, judged, True, times[side], times[peer], peer, "s", entry
                )


def seconds(make: Side, work: Callable[[Map], None]) -> float:
    """The best of a few, as whatever else runs here only takes time."""
    with make() as run:
        run(burnt, range(CHILDREN * 2), 1)  # so that every child is there
        taken = []
        for _ in range(2 if work is busy else 10 if work is tiny else 3):
            begun = time.perf_counter()
            work(run)
            taken.append(time.perf_counter() - begun)
    return min(taken)
