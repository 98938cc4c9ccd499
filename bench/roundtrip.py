"""Round trips: one job enqueued, run by a worker process, its result read; beside a hand-written pair of processes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from statistics import median

from bench import jobs
from bench.figure import Figure, Plan, Tell
from bench.limit import measure_roundtrips
from bench.place import MODES, at, folder, url, worker

NUMBER = 500
GOALS = {"full": 1.5, "normal": 0.7}


def figures(plan: Plan, tell: Tell) -> Iterator[Figure]:
    for mode in MODES:
        ours: list[float] = []
        theirs: list[float] = []
        slowest: list[float] = []
        for turn in range(plan.repeat):
            tell(f"round trip {mode.upper()} {turn + 1}/{plan.repeat}")
            theirs.append(median(measure_roundtrips(NUMBER, mode)) * 1e3)
            times = sorted(roundtrips(mode))
            ours.append(median(times) * 1e3)
            slowest.append(times[int(len(times) * 0.99)] * 1e3)
        yield Figure(
            f"round trip p50, {mode.upper()}",
            "ms",
            ours,
            GOALS[mode],
            least=False,
            ours=ours,
            peer=theirs,
            peer_name="hand-written pair",
            side_unit="ms",
        )
        yield Figure(f"round trip p99, {mode.upper()}", "ms", slowest)


def roundtrips(mode: str) -> list[float]:
    """Seconds of each."""
    with folder() as path, at(url(path, mode)), worker(url(path, mode)):
        times = []
        for _ in range(NUMBER):
            begun = time.perf_counter()
            jobs.noop.enqueue().result(30)
            times.append(time.perf_counter() - begun)
        return times[NUMBER // 10 :]  # the first ones wait for the worker's start
