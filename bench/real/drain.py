"""One kind of job, enqueued before, by one worker process; beside the loop of bench/real/loop.py on the same server."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from redis import Redis

from bench import place
from bench.figure import Figure, Plan, Tell, ratio
from bench.place import at, child
from bench.real.loop import SLOTS
from bench.redis.place import drained
from bench.redis.server import emptied, rewritten, server


def beside(
    what: str, plan: Plan, tell: Tell, kind: str, number: int, put: Callable[[int], object], size: int = 0
) -> Iterator[Figure]:
    number //= 5 if plan.quick else 1
    ours, loop = [], []
    with server() as url:
        for turn in range(plan.repeat):
            tell(f"{what} {turn + 1}/{plan.repeat}")
            loop.append(child("bench.real.loop", emptied(url), kind, number, size)[0])
            with at(emptied(url)):
                put(number)
            with Redis.from_url(url) as client:
                rewritten(client)
            ours.append(number / drained(url, number, command=command(SLOTS[kind])))
    yield ratio(what, ours, loop, "hand-written loop", "jobs/s")


def command(slots: int) -> list[str]:
    words = ["bench.real.jobs:app" if word == "bench.jobs:app" else word for word in place.WORKER]
    words[words.index("-c") + 1] = str(slots)
    words[words.index("--log-level") + 1] = "error"  # a line for each of thousands of failed attempts is not their price
    return words
