"""Clauses about jobs whose task nobody here knows."""

from __future__ import annotations

import time

from longboat.contract.broker import Consumer
from longboat.contract.capabilities import Capability
from longboat.core.job import Failure, Job, Park, State
from longboat.core.reasons import UNKNOWN_TASK
from longboat.testing.conformance.clause import clause
from longboat.testing.conformance.stage import (
    Stage,
    check,
    eventually,
    job,
    limits,
    meanwhile,
    nothing,
    same,
    settle,
    take,
    timed,
)

UNKNOWN = Failure(UNKNOWN_TASK, "no task 'new' here")


def _parked(on: Stage, consumer: Consumer, patience: float = 60.0) -> Job:
    sent = job(task="new")
    on.put(sent)
    settle(consumer, take(consumer), Park(patience, UNKNOWN))
    return sent


@clause(needs={Capability.PARKING, Capability.LOOKUP})
def a_parked_job_waits_for_a_consumer_that_knows_its_task(on: Stage) -> None:
    """A parked job goes to no consumer that does not name its task, and to one that does, without counting an attempt."""
    ignorant = on.consumer(tasks=["old"])
    sent = _parked(on, ignorant)
    same(on.state(sent.id), State.WAITING, "the state of a parked job")
    nothing(ignorant, why="received by who does not name the task")
    nothing(on.consumer(), why="received by who names no task")
    lease = take(on.consumer(tasks=["other", "new"], of=on.another()))
    same((lease.job.id, lease.attempt, lease.failures), (sent.id, 1, 0), "received by who names the task")


@clause(needs={Capability.PARKING})
def parking_wakes_a_consumer_that_knows_the_task(on: Stage) -> None:
    """A waiting consumer that names the task receives the job as soon as it is parked."""
    ignorant = on.consumer(tasks=["old"])
    sent = job(task="new")
    on.put(sent)
    lease = take(ignorant)
    knowing = on.consumer(tasks=["new"])
    receiving = meanwhile(lambda: timed(lambda: take(knowing)))
    time.sleep(0.05)
    settle(ignorant, lease, Park(60.0, UNKNOWN))
    parked = time.monotonic()
    received, at = receiving()
    same(received.job.id, sent.id, "received by who waited")
    check(at - parked < limits.prompt, "who waited was not woken")


@clause(needs={Capability.PARKING, Capability.EVERY_QUEUE})
def a_parked_job_stays_in_its_queue(on: Stage) -> None:
    """A consumer that names the task but not the queue does not get a parked job."""
    _parked(on, on.consumer())
    nothing(on.consumer("other", tasks=["new"]))
    take(on.consumer(every=True, tasks=["new"]))


@clause(needs={Capability.PARKING, Capability.DEAD_JOBS, Capability.LOOKUP})
def a_parked_job_is_dead_when_patience_is_over(on: Stage) -> None:
    """A parked job is dead after `patience` seconds, not before, with the Failure it was parked with; no attempt counts."""
    consumer = on.consumer()
    began = time.monotonic()
    sent = _parked(on, consumer, patience=0.3)
    eventually(lambda: bool(consumer.extend()) and on.state(sent.id) is State.DEAD, "a parked job is dead")
    check(time.monotonic() - began >= 0.299, "a parked job was dead before its patience was over")
    view = on.view(sent.id)
    same([failure.type for failure in view.failures], [UNKNOWN_TASK], "its failures")
    same(view.attempts, 0, "its attempts")
    nothing(on.consumer(tasks=["new"]))


@clause(needs={Capability.PARKING, Capability.PRIORITY, Capability.PLACE})
def a_parked_job_ranks_by_its_priority(on: Stage) -> None:
    """A consumer that knows the task gets parked jobs in the queue's order: higher priority first, then oldest."""
    ignorant = on.consumer()
    parked = _parked(on, ignorant)
    high, later = job(priority=5), job()
    on.put(later, high)
    knowing = on.consumer(tasks=["new"])
    same([take(knowing).job.id for _ in range(3)], [high.id, parked.id, later.id], "the order received")


@clause(needs={Capability.PARKING, Capability.PRIORITY, Capability.PLACE, Capability.LOOKUP})
def a_parked_job_stays_parked_until_it_is_leased(on: Stage) -> None:
    """Although a consumer that knows its task took other jobs, a parked job goes on waiting, and goes to nobody who does
    not know it.
    """
    ignorant = on.consumer()
    parked = [_parked(on, ignorant) for _ in range(2)]
    on.put(high := job(priority=5))
    knowing = on.consumer(tasks=["new"])
    same(take(knowing).job.id, high.id, "received by who knows the task")
    same([on.state(each.id) for each in parked], [State.WAITING] * 2, "the parked jobs after that")
    same(take(knowing).job.id, parked[0].id, "received then")
    nothing(ignorant, why="received by who does not name the task")
