"""Put with confirms, and receive with settle: the broker's own calls beside the bare pika loop on the same server."""

from __future__ import annotations

import time
from collections.abc import Iterator

from bench.figure import Figure, Plan, Tell, ratio
from bench.rabbitmq.limit import MESSAGE, PUT, measure
from bench.rabbitmq.server import emptied, server
from longboat import connect
from longboat.contract.broker import Lease, Settlement
from longboat.core.job import MESSAGE_VERSION, Done, Job, new_ids

NUMBER = 50_000
BATCHES = (100, 500)
GOAL = 0.6


def figures(plan: Plan, tell: Tell) -> Iterator[Figure]:
    number = NUMBER // 5 if plan.quick else NUMBER
    bare_put: list[float] = []
    put: list[float] = []
    with server() as made:
        for batch in BATCHES:
            bare: list[float] = []
            ours: list[float] = []
            for turn in range(plan.repeat):
                tell(f"by {batch} {turn + 1}/{plan.repeat}")
                for measured, drained, filled in ((measure, bare, bare_put), (calls, ours, put)):
                    rate, put_rate = measured(emptied(made), number, batch)
                    drained.append(rate)
                    filled.append(put_rate)
            yield ratio(f"receive and settle by {batch}", ours, bare, "bare pika loop", "jobs/s", goal=GOAL)
    yield ratio(f"put by {PUT:,}, confirmed", put, bare_put, "bare pika loop", "jobs/s", goal=GOAL)


def calls(url: str, number: int, batch: int) -> tuple[float, float]:
    """(jobs received and settled a second, jobs put a second), by the broker's own calls."""
    broker = connect(url)
    jobs = [Job(MESSAGE_VERSION, each, "t", MESSAGE[:150], keep=0) for each in new_ids(number)]
    broker.put([Job(MESSAGE_VERSION, "first", "t", b"", keep=0)])  # it declares the queues
    begun = time.perf_counter()
    for start in range(0, number, PUT):
        broker.put(jobs[start : start + PUT])
    filled = time.perf_counter()
    consumer = broker.consumer(["default"], lease=30)
    started, count = time.perf_counter(), 0
    held: list[Lease] = []
    while count <= number or held:  # as a worker does: the next arrive while these run
        leases = consumer.receive(batch, wait=1) if count <= number else []
        consumer.settle([Settlement(lease, Done(b"\xc0")) for lease in held])
        held = leases
        count += len(leases)
    ended = time.perf_counter()
    consumer.close()
    broker.close()
    return number / (ended - started), number / (filled - begun)
