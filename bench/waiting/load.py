"""Load: so many no-op jobs a second, enqueued and awaited by the coroutines of one process, run by one worker process.

The load is open: a job is due when it is due, whatever has become of those before it. Each is timed from then to its result.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator

from bench import jobs
from bench.figure import Figure, Plan, Tell
from bench.place import child
from bench.redis.place import worker
from bench.redis.server import emptied, server

SECONDS = 5.0
GOALS = {1000: (None, None), 5000: (2.0, 6.0), 10_000: (4.0, 25.0)}
"""Jobs a second: milliseconds of p50 and p99."""
BEFORE = {1000: "", 5000: "before: p50 58 ms, p99 1,455 ms", 10_000: "before: 12.9 s"}
"""What it was when each wait asked the broker for itself, on the event loop."""
WARM = 0.5
"""Seconds at the beginning that do not count: the worker starts, connections are made."""


def figures(plan: Plan, tell: Tell) -> Iterator[Figure]:
    seconds = 2.0 if plan.quick else SECONDS
    with server() as url:
        for rate, goals in GOALS.items():
            runs: list[list[float]] = []
            for turn in range(plan.repeat):
                tell(f"{rate:,}/s {turn + 1}/{plan.repeat}")
                with worker(emptied(url)):
                    runs.append(child("bench.waiting.load", url, rate, seconds))
            for place, percent in enumerate(("p50", "p99")):
                yield Figure(
                    f"{rate:,}/s, from call to result, {percent}",
                    "ms",
                    [run[place] for run in runs],
                    goals[place],
                    least=False,
                    entry=BEFORE[rate],
                )
            yield Figure(f"{rate:,}/s, results came at", "jobs/s", [run[2] for run in runs])
            yield Figure(f"{rate:,}/s, the caller's CPU", "µs a job", [run[3] for run in runs])


async def load(rate: int, seconds: float) -> list[float]:
    """Milliseconds of p50 and p99, results a second, µs of this process's CPU for each."""
    times: list[float] = []

    async def one(due: float) -> None:
        await (await jobs.noop.aenqueue())
        times.append(time.perf_counter() - due)

    await one(time.perf_counter())
    running: set[asyncio.Task[None]] = set()
    cpu, began = time.process_time(), time.perf_counter()
    number, total = 0, int(rate * seconds)
    while number < total:
        now = time.perf_counter()
        while number < total and (due := began + number / rate) <= now:
            task = asyncio.ensure_future(one(due))
            running.add(task)
            task.add_done_callback(running.discard)
            number += 1
        await asyncio.sleep(max(0.0, began + number / rate - time.perf_counter()))
    while running:
        await asyncio.wait(running)
    took = time.perf_counter() - began
    counted = sorted(times[1 + int(rate * WARM) :])
    percents = [counted[len(counted) * percent // 100] * 1e3 for percent in (50, 99)]
    return [*percents, total / took, (time.process_time() - cpu) / total * 1e6]


if __name__ == "__main__":
    jobs.app.url = sys.argv[1]
    print(*asyncio.run(load(int(sys.argv[2]), float(sys.argv[3]))))
    jobs.app.close()
