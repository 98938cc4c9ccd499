"""Draining a queue filled before: the broker's calls, and a real worker, beside the bare loop on the same server."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.figure import Figure, Plan, Tell, ratio
from bench.jobs import forgotten, noop
from bench.place import at, drained
from bench.postgres.limit import MESSAGE, PUT, measure
from longboat import connect
from longboat.contract.broker import Settlement
from longboat.core.job import MESSAGE_VERSION, Done, Job, new_ids
from longboat.tasks.task import Task
from tests.rigs.servers.postgres import PostgresServer

NUMBER = 50_000
BATCHES = (100, 500)
GOAL = 0.5


@contextlib.contextmanager
def server(options: Sequence[str] = ()) -> Iterator[PostgresServer]:
    """Its data on a disk, for which each commit waits."""
    folder = Path(tempfile.mkdtemp(prefix="longboat-bench-", dir="/var/tmp"))
    try:
        with PostgresServer(folder, durable=True, options=options) as made:
            yield made
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def figures(plan: Plan, tell: Tell) -> Iterator[Figure]:
    number = NUMBER // 5 if plan.quick else NUMBER
    with server() as made:
        for batch in BATCHES:
            bare, kept, forgot, put, bare_put = [], [], [], [], []
            for turn in range(plan.repeat):
                tell(f"by {batch} {turn + 1}/{plan.repeat}")
                rate, put_rate = measure(made.url, number, batch)
                bare.append(rate)
                bare_put.append(put_rate)
                rate, put_rate = calls(emptied(made), number, batch, 0.0)
                forgot.append(rate)
                put.append(put_rate)
                kept.append(calls(emptied(made), number, batch, 3600.0)[0])
            yield ratio(
                f"claim and settle by {batch}", forgot, bare, "bare loop", "jobs/s", goal=GOAL, entry="keep_result=0"
            )
            yield ratio(f"claim and settle by {batch}, results kept", kept, bare, "bare loop", "jobs/s")
            yield ratio(f"put by {PUT}", put, bare_put, "bare INSERT", "jobs/s")
        for task, entry in ((forgotten, "keep_result=0"), (noop, "results kept")):
            tell(f"one worker process, {entry}")
            rates = [worker(emptied(made), task, number) for _ in range(plan.repeat)]
            yield Figure(f"drain by one worker process, {entry}", "jobs/s", rates, entry="coroutines")


def emptied(made: PostgresServer) -> str:
    """The server with nothing in it."""
    made.query("DROP SCHEMA IF EXISTS longboat CASCADE")
    made.query("CHECKPOINT")
    return made.url


def calls(url: str, number: int, batch: int, keep: float) -> tuple[float, float]:
    """(jobs drained a second, jobs put a second), by the broker's own calls."""
    broker = connect(url)
    broker.inspector.counts()
    jobs = [Job(MESSAGE_VERSION, each, "t", MESSAGE[:150], keep=keep) for each in new_ids(number)]
    begun = time.perf_counter()
    for start in range(0, number, PUT):
        broker.put(jobs[start : start + PUT], token=("bench", start + 1))
    filled = time.perf_counter()
    consumer = broker.consumer(["default"], lease=30)
    started, count = time.perf_counter(), 0
    while count < number:
        leases = consumer.receive(batch, wait=1)
        consumer.settle([Settlement(lease, Done(b"\xc0")) for lease in leases])
        count += len(leases)
    ended = time.perf_counter()
    consumer.close()
    broker.close()
    return number / (ended - started), number / (filled - begun)


def worker(url: str, task: Task[[], None], number: int) -> float:
    """Jobs a second."""
    with at(url):
        task.enqueue_many(() for _ in range(number))
    return number / drained(url, number)
