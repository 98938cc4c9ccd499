"""What being watched costs, part by part: CPU time of the one thread that does it, which other load hardly changes.

A worker that is busy uses up to one processor: the part of it that telling takes is what its drain rate may lose.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

from bench import jobs
from bench.events import redis, sqlite
from bench.events.drain import Fill
from bench.events.listener import listening
from bench.figure import Figure, Plan, Tell
from bench.redis.server import server
from longboat import connect
from longboat.contract.broker import Broker, Lease, Settlement
from longboat.contract.kv import KV
from longboat.core.codec import NONE
from longboat.core.job import MESSAGE_VERSION, Done, Job, new_id
from longboat.executors.contract import Call
from longboat.observe.events import Bus, JobSucceeded
from longboat.observe.stream import BATCH_EVERY, EventPublisher
from longboat.worker.in_flight import InFlight
from longboat.worker.recorder import EVERY, Recorder
from longboat.worker.worker_events import WorkerEvents

WORKER = "machine:1234"
BATCHES = 60
JOBS = 20_000
AT_ONCE = 500


def figures(plan: Plan, tell: Tell) -> Iterator[Figure]:
    with contextlib.ExitStack() as stack:
        stores: dict[str, Fill] = {"SQLite": sqlite.filled, "Redis": redis.filled(stack.enter_context(server()))}
        for store, fill in stores.items():
            tell(f"{store}, parts")
            with fill(0) as address, listening(address, 1), contextlib.closing(connect(address)) as broker:
                told = [100 * used / BATCH_EVERY for used in telling(broker, BATCHES if not plan.quick else 5)]
                counted = [counting(broker.kv) for _ in range(5 if not plan.quick else 1)]
            yield Figure(
                f"{store}, telling as much as it may", "% of a CPU", told, 5, least=False, entry="500 events each 0.25 s"
            )
            yield Figure(
                f"{store}, history",
                "µs a job",
                [1e6 * each for each, _ in counted],
                entry="counting, and samples of latencies",
            )
            yield Figure(f"{store}, writing history", "% of a CPU", [100 * used / EVERY for _, used in counted])


def telling(broker: Broker, batches: int, clock: Callable[[], float] = time.thread_time) -> list[float]:
    """CPU seconds of each batch of events, from the ends of jobs to what stands on the board; of this thread, or others."""
    worker_events = WorkerEvents(Bus(), EventPublisher.of(broker, WORKER), InFlight())
    worker_events.run(time.time())
    spent = []
    for _ in range(batches):
        calls = [call() for _ in range(worker_events.publisher.room)]
        begun = clock()
        for each in calls:
            if worker_events.every_job:  # as the runner does
                job = each.lease.job
                worker_events.ending(each)
                worker_events.emit(JobSucceeded(WORKER, job.id, job.task, job.queue, 1, time.monotonic() - each.started))
        worker_events.run(time.time())
        spent.append(clock() - begun)
    return spent


def counting(kv: KV) -> tuple[float, float]:
    """CPU seconds a job, and of one writing."""
    recorder, calls = Recorder(kv, WORKER), [call() for _ in range(JOBS)]
    done = [Settlement(each.lease, Done(NONE)) for each in calls]
    begun = time.thread_time()
    for each in calls:
        recorder.seen += 1
        if recorder.seen >= recorder.next_sample:
            recorder.sample(each)
    for start in range(0, JOBS, AT_ONCE):
        recorder.settled(done[start : start + AT_ONCE])
    counted = time.thread_time()
    recorder.run(time.time())
    return (counted - begun) / JOBS, time.thread_time() - counted


def call() -> Call:
    """A job that has just started."""
    job = Job(MESSAGE_VERSION, new_id(), jobs.noop.name, b"\x80", enqueued=time.time())
    made = Call(Lease(job, 1, 1), jobs.noop)
    made.started = time.monotonic()
    return made
