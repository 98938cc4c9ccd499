"""Sizes: jobs with arguments of 1 kB and 100 kB, put in bulk and drained, and what the server spends on each."""

from __future__ import annotations

import time
from collections.abc import Iterator

from redis import Redis

from bench.figure import Figure, Plan, Tell
from bench.jobs import sized
from bench.place import at
from bench.redis.place import drained
from bench.redis.server import emptied, rewritten, server

SIZES = {"1 kB": (1_000, 40_000), "100 kB": (100_000, 2_000)}
"""Bytes of the argument, and how many jobs have it."""


def figures(plan: Plan, tell: Tell) -> Iterator[Figure]:
    with server() as url:
        for name, (size, number) in SIZES.items():
            number //= 10 if plan.quick else 1
            put, rate, puts_cost, drain_cost = [], [], [], []
            for turn in range(plan.repeat):
                tell(f"{name} {turn + 1}/{plan.repeat}")
                with Redis.from_url(emptied(url)) as client:
                    begun, before = time.perf_counter(), cpu(client)
                    with at(url):
                        sized.enqueue_many((b"\xff" * size,) for _ in range(number))
                    put.append(number / (time.perf_counter() - begun))
                    puts_cost.append((cpu(client) - before) / number * 1e6)
                    rewritten(client)
                    before = cpu(client)
                    rate.append(number / drained(url, number))
                    drain_cost.append((cpu(client) - before) / number * 1e6)
            yield Figure(f"bulk enqueue, {name}", "jobs/s", put)
            yield Figure(f"bulk enqueue, {name}, server", "µs a job", puts_cost, least=False)
            yield Figure(f"drain, {name}", "jobs/s", rate, entry="coroutines, keep_result=0")
            yield Figure(f"drain, {name}, server", "µs a job", drain_cost, least=False)


def cpu(client: Redis) -> float:
    """Seconds that the server has spent."""
    said = client.info("cpu")
    return float(said["used_cpu_user"] + said["used_cpu_sys"])
