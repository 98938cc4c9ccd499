"""Clauses about the order in which jobs are received."""

from __future__ import annotations

import time
from collections.abc import Callable

from longboat.contract.broker import Consumer
from longboat.contract.capabilities import Capability
from longboat.core.job import Release, Retry
from longboat.testing.conformance.clause import clause
from longboat.testing.conformance.stage import BOOM, Stage, check, ids, job, same, settle, some, take, take_all


@clause(needs={Capability.PRIORITY})
def higher_priority_comes_first(on: Stage) -> None:
    """Within a queue the job with the higher priority comes first, for all 32-bit integers."""
    by_priority = {priority: job(priority=priority) for priority in (0, -1, 5, 2**31 - 1, -(2**31), 4, -5)}
    on.put(*by_priority.values())
    leases = take_all(on.consumer(), 7)
    same([lease.job.priority for lease in leases], sorted(by_priority, reverse=True), "priorities as received")


@clause
def then_the_oldest_comes_first(on: Stage) -> None:
    """Jobs of equal priority come in the order they were put: within a put, from put to put, from client to client."""
    other = on.another()
    jobs = []
    for n in range(6):
        batch = some(3, priority=2)
        (other if n % 2 else on.broker).put(batch)
        jobs += batch
    consumer = on.consumer()
    received = [each for n in (1, 2, 5, 10) for each in ids(take_all(consumer, n))]
    same(received, ids(jobs), "the order received")


@clause
def chosen_ids_are_ordered_like_others(on: Stage) -> None:
    """An id chosen by a caller does not change the place of its job."""
    jobs = []
    for n in range(6):
        jobs.append(job(f"{'zebra' if n % 4 else 'ant'}-{9 - n}") if n % 2 else job())
        on.put(jobs[-1])
        time.sleep(0.001)  # generated ids and the broker's clock may both tell the order, to the microsecond
    same(ids(take_all(on.consumer(), 6)), ids(jobs), "the order received")


@clause(needs={Capability.PLACE})
def a_delayed_job_keeps_its_place(on: Stage) -> None:
    """When its delay is over, a job comes before jobs that were put after it."""
    late, early = job(delay=0.05), job()
    on.put(late)
    on.put(early)
    time.sleep(0.2)
    same(ids(take_all(on.consumer(), 2)), ids([late, early]), "the order received")


@clause(needs={Capability.PLACE, Capability.EVICT})
def a_job_that_comes_back_keeps_its_place(on: Stage) -> None:
    """A job that was handed back, retried or lost by its consumer comes before jobs that were put after it."""

    def close(consumer: Consumer) -> None:
        take(consumer)
        consumer.close()

    def evict(consumer: Consumer) -> None:
        take(consumer)
        on.broker.evict(consumer.id, BOOM)

    ways: list[Callable[[Consumer], None]] = [
        lambda consumer: settle(consumer, take(consumer), Release()),
        lambda consumer: settle(consumer, take(consumer), Retry(0.0, BOOM)),
        close,
        evict,
    ]
    jobs = some(3)
    on.put(*jobs)
    for way in ways:
        way(on.consumer())
    same(ids(take_all(on.consumer(), 3)), ids(jobs), "the order received after the first came back four times")


@clause
def queues_named_first_are_asked_first(on: Stage) -> None:
    """A consumer gets every job of the queue it names first before any job of the next, whatever their priority and age."""
    low, high = some(3, queue="later", priority=9), some(3, queue="first")
    on.put(*low)
    on.put(*high)
    consumer = on.consumer("first", "later")
    same(ids(take_all(consumer, 2) + take_all(consumer, 4)), ids(high + low), "the order received")


@clause
def a_consumer_gets_its_queues_only(on: Stage) -> None:
    """A consumer never receives from a queue that it does not name."""
    mine, theirs = job(queue="mine"), job(queue="theirs", priority=9)
    on.put(theirs, mine)
    consumer = on.consumer("mine", "empty")
    same(ids(consumer.receive(10, wait=1.0)), [mine.id], "jobs received")
    same(ids(consumer.receive(10, wait=0.0)), [], "jobs received then")


@clause(needs={Capability.EVERY_QUEUE})
def a_consumer_without_queues_gets_every_queue(on: Stage) -> None:
    """A consumer that names no queue receives from all of them, new ones too, and starves none."""
    consumer = on.consumer(every=True)
    for name in ("a", "b", "c"):
        on.put(*some(10, queue=name))
    first = take_all(consumer, 1) + take_all(consumer, 1) + take_all(consumer, 1) + take_all(consumer, 1)
    check(len({lease.job.queue for lease in first}) > 1, "four single receives all came from one of three queues")
    rest = take_all(consumer, 26)
    same(len({lease.job.id for lease in first + rest}), 30, "jobs received in all")
