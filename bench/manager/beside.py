"""Put by one client, claims by 100, one worker process, and an answer to 100 KiB: beside the same store used directly."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from statistics import median

from bench import jobs
from bench.figure import Figure, Plan, Tell, ratio
from bench.manager.place import direct, served
from bench.place import at, drained
from longboat import connect
from longboat.contract.broker import Broker, Settlement
from longboat.core.job import MESSAGE_VERSION, Done, Job, new_ids

SINGLE = 2000
CLAIMED = 20_000
DRAINED = 20_000
LARGE = 50


def figures(plan: Plan, tell: Tell) -> Iterator[Figure]:
    measures: list[tuple[str, Callable[[str], float]]] = [
        ("put one at a time", put),
        ("claim by 100 and settle", claim),
        ("drain, one worker process", drain),
    ]
    for name, measure in measures:
        ours, theirs = [], []
        for turn in range(plan.repeat):
            tell(f"{name} {turn + 1}/{plan.repeat}")
            with direct() as url:
                theirs.append(measure(url))
            with served() as url:
                ours.append(measure(url))
        yield ratio(name, ours, theirs, "the file used directly", "jobs/s")
    with served() as url:
        yield Figure("put of 100 KiB", "ms", [large(url) for _ in range(plan.repeat)], 5.0, least=False)


def some(n: int, payload: bytes = b"\x80") -> list[Job]:
    return [Job(MESSAGE_VERSION, each, "t", payload) for each in new_ids(n)]


def put(url: str) -> float:
    """Jobs a second."""
    broker = connect(url)
    broker.put(some(1))
    batch = some(SINGLE)
    begun = time.perf_counter()
    for job in batch:
        broker.put([job])
    took = time.perf_counter() - begun
    broker.close()
    return SINGLE / took


def claim(url: str) -> float:
    broker = connect(url)
    _fill(broker)
    consumer = broker.consumer([], lease=60.0)
    begun = time.perf_counter()
    while leases := consumer.receive(100, wait=0.0):
        consumer.settle([Settlement(lease, Done(b"\xc0")) for lease in leases])
    took = time.perf_counter() - begun
    consumer.close()
    broker.close()
    return CLAIMED / took


def _fill(broker: Broker) -> None:
    batch = some(CLAIMED)
    for start in range(0, CLAIMED, 1000):
        broker.put(batch[start : start + 1000])


def drain(url: str) -> float:
    with at(url):
        jobs.noop.enqueue_many(() for _ in range(DRAINED))
        return DRAINED / drained(url, DRAINED)


def large(url: str) -> float:
    """Milliseconds until a put of 100 jobs of 1 KiB is answered."""
    broker = connect(url)
    took = []
    for _ in range(LARGE):
        batch = some(100, bytes(1024))
        begun = time.perf_counter()
        broker.put(batch)
        took.append((time.perf_counter() - begun) * 1e3)
    broker.close()
    return median(took)
