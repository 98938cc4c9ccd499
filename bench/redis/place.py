"""Workers on Redis, and the view of them that hardly disturbs the server they share."""

from __future__ import annotations

import contextlib
import subprocess
import time
from typing import Any

from redis import Redis

from bench import place
from bench.place import at, inspector, started, unended, until, waiting
from bench.redis.server import rewritten
from longboat.tasks.task import Task

WORKER = ["bench.redis.jobs:app" if word == "bench.jobs:app" else word for word in place.WORKER]
SHORTEST, LONGEST = 0.001, 0.05
"""Seconds between two looks."""
PART = 100_000
"""Enqueued in one call: each returns a handle for every job."""


def worker(address: str, command: list[str] = WORKER) -> contextlib.AbstractContextManager[subprocess.Popen[bytes]]:
    """The real command: a supervisor, and one worker process."""
    return started(command, address)


def fill(address: str, task: Task[[], Any], number: int) -> str:
    """The server with so many more jobs in it, and no rewrite of its file under way to slow what is measured next."""
    with at(address):
        for start in range(0, number, PART):
            task.enqueue_many(() for _ in range(min(PART, number - start)))
    with Redis.from_url(address) as client:
        rewritten(client)
    return address


def drained(address: str, number: int, limit: float = 120.0, command: list[str] = WORKER) -> float:
    """As bench.place.drained, but it looks seldom while much is left: each look takes the server's time.

    Where more are queued, what was settled beyond `number` at the last look is reckoned in.
    """
    with inspector(address) as look, worker(address, command) as process:
        ready, queued = waiting(look), unended(look)
        begun = until(lambda: waiting(look) < ready, process)
        while (done := queued - unended(look)) < number:
            if process.poll() is not None:
                raise RuntimeError(f"the worker ended with {process.returncode} before its jobs did")
            passed = time.perf_counter() - begun
            if passed > limit:
                raise TimeoutError(f"{done} of {number} jobs within {limit:g} s")
            left = passed / done * (number - done) if done else 0.0
            time.sleep(min(max(left / 2, SHORTEST), LONGEST))
        return (time.perf_counter() - begun) * number / done
