"""Round trips: one job enqueued, run by a worker process, its result read; beside a hand-written pair of processes."""

from __future__ import annotations

import time
from collections.abc import Iterator

from bench import jobs
from bench.figure import Figure, Plan, Tell
from bench.place import at
from bench.redis.pair import measure_roundtrips
from bench.redis.place import worker
from bench.redis.server import emptied, server

NUMBER = 1000
P50, P99 = 0.7, 2.0
"""Milliseconds."""


def figures(plan: Plan, tell: Tell) -> Iterator[Figure]:
    ours, theirs = [], []
    with server() as url:
        for turn in range(plan.repeat):
            tell(f"round trip {turn + 1}/{plan.repeat}")
            theirs.append(sorted(measure_roundtrips(emptied(url), NUMBER)))
            ours.append(sorted(roundtrips(emptied(url))))
    for name, percent, goal in (("p50", 50, P50), ("p99", 99, P99)):
        samples, peer = ([times[len(times) * percent // 100] * 1e3 for times in side] for side in (ours, theirs))
        yield Figure(
            f"round trip {name}",
            "ms",
            samples,
            goal,
            least=False,
            ours=samples,
            peer=peer,
            peer_name="hand-written pair",
            side_unit="ms",
            entry=f"of {len(ours[0]):,} one after the other",
        )


def roundtrips(url: str) -> list[float]:
    """Seconds of each."""
    with at(url), worker(url):
        times = []
        for _ in range(NUMBER):
            begun = time.perf_counter()
            jobs.noop.enqueue().result(30)
            times.append(time.perf_counter() - begun)
        return times[NUMBER // 10 :]  # the first ones wait for the worker's start
