"""A worker while somebody listens to its events, beside one that tells none; and how soon who asked is told a result.

What is judged of the worker is the CPU time that a job costs its processes: other load on the machine hardly changes it.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from statistics import median

from bench import jobs, place
from bench.events import parts
from bench.events.drain import Drain, beside, spent
from bench.events.listener import listening
from bench.figure import Figure, Plan, Tell
from bench.peers.job import marked
from bench.peers.marks import marks, seconds
from bench.place import at, started, worker
from bench.rabbitmq.server import emptied, server
from longboat import connect
from longboat.observe.stream import BATCH_EVERY

NUMBER, TURNS = 60_000, 5
ROUNDTRIPS = 500
GOAL, LOSS, SOON = 0.97, 3, 5
SILENT, WATCHED = "bench.rabbitmq.silent:app", "bench.peers.job:app"


def figures(plan: Plan, tell: Tell) -> Iterator[Figure]:
    part, turns = (5, 1) if plan.quick else (1, max(plan.repeat, TURNS))
    found: dict[str, list[Drain]] = {SILENT: [], WATCHED: []}
    half: list[float] = []
    slow: list[float] = []
    with server() as made:
        for turn in range(turns):
            tell(f"events {turn + 1}/{turns}")
            for app in (SILENT, WATCHED) if turn % 2 else (WATCHED, SILENT):
                found[app].append(drained(emptied(made), NUMBER // part, app))
            tell(f"round trips {turn + 1}/{turns}")
            times = sorted(roundtrips(emptied(made), ROUNDTRIPS // part))
            half.append(median(times) * 1e3)
            slow.append(times[int(len(times) * 0.99)] * 1e3)
        tell("telling")
        told = telling(emptied(made), 60 // part)
    yield from beside("a worker whose events one listens to", found[WATCHED], found[SILENT], "no events", GOAL)
    entry = "500 events each 0.25 s, told to all who listen"
    yield Figure("telling as much as it may", "% of a CPU", told, LOSS, least=False, entry=entry)
    entry = "enqueued, run by a worker process, and its result told to who asked"
    yield Figure("round trip p50", "ms", half, SOON, least=False, entry=entry)
    yield Figure("round trip p99", "ms", slow, entry=entry)


def drained(url: str, number: int, app: str) -> Drain:
    """From the first job to the last, by one worker process."""
    with at(url):
        marked.enqueue_many(() for _ in range(number))
    command = [app if word == "bench.jobs:app" else word for word in place.WORKER]
    with listening(url, int(app == WATCHED)), marks() as path, started(command, url) as process:
        while not path.stat().st_size and process.poll() is None:
            time.sleep(0.001)
        used = spent(process.pid)
        took = seconds(path, number, process)
        return Drain(number / took, (spent(process.pid) - used) / number * 1e6)


def telling(url: str, batches: int) -> list[float]:
    """Of a processor, by all threads of a worker that is so busy that it tells as many events as it may."""
    with listening(url, 1), contextlib.closing(connect(url)) as broker:
        return [100 * used / BATCH_EVERY for used in parts.telling(broker, batches, time.process_time)]


def roundtrips(url: str, number: int) -> list[float]:
    """Seconds of each."""
    with at(url), worker(url):
        times = []
        for _ in range(number):
            begun = time.perf_counter()
            jobs.noop.enqueue().result(30)
            times.append(time.perf_counter() - begun)
        return times[number // 10 :]  # the first ones wait for the worker's start
