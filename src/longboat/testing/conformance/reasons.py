"""Clauses about the failures that brokers record themselves: the same end reads the same on each of them."""

from __future__ import annotations

import time

from msgspec import structs

from longboat.contract.capabilities import Capability
from longboat.core import reasons
from longboat.core.codec import decode_job
from longboat.core.job import Failure, Park, Release, Retry, State
from longboat.core.views import JobView
from longboat.errors import Undecodable
from longboat.testing.conformance.clause import clause
from longboat.testing.conformance.stage import (
    BOOM,
    Stage,
    check,
    eventually,
    job,
    nothing,
    same,
    settle,
    some,
    take,
    take_all,
)


def _reads(view: JobView, expected: Failure, what: str) -> None:
    """The newest failure of this job says so."""
    check(bool(view.failures), f"no failure is recorded of {what}")
    failure = view.failures[-1]
    check(abs(time.time() - failure.at) < 60, f"the failure recorded of {what} is not of now: {failure}")
    same(structs.replace(failure, at=0.0), structs.replace(expected, at=0.0), f"the failure recorded of {what}")


@clause(needs={Capability.EXPIRY, Capability.LOOKUP})
def an_expiry_reads_as_everywhere(on: Stage) -> None:
    """The Failure of a job that expired is that of `core.reasons.expired`, on every broker."""
    ready, scheduled = job(expires=0.1), job(expires=0.1, delay=60.0)
    on.put(ready, scheduled)
    time.sleep(0.15)
    consumer = on.consumer()
    nothing(consumer)
    for each in (ready, scheduled):

        def cancelled(each_id: str = each.id) -> bool:
            consumer.extend()
            return on.state(each_id) is State.CANCELLED

        eventually(cancelled, "an expired job is cancelled")
        _reads(on.view(each.id), reasons.expired(0.0), "an expiry")


@clause(needs={Capability.CANCEL, Capability.LOOKUP})
def a_cancellation_reads_as_everywhere(on: Stage) -> None:
    """The Failure of a job that was cancelled before a start is that of `core.reasons.cancelled`, with the attempts made."""
    new, tried = job(), job()
    on.put(tried)
    consumer = on.consumer()
    settle(consumer, take(consumer), Retry(60.0, BOOM))
    on.put(new)
    on.broker.inspector.cancel([new.id, tried.id])
    _reads(on.view(new.id), reasons.cancelled(0.0), "a cancellation before the first attempt")
    _reads(on.view(tried.id), reasons.cancelled(0.0, 1), "a cancellation after an attempt")


@clause(needs={Capability.CANCEL, Capability.LOOKUP, Capability.PARKING})
def a_leased_jobs_cancellation_reads_as_everywhere(on: Stage) -> None:
    """So is the Failure of a job that was cancelled while it was leased, whatever would have brought it back."""
    jobs = some(4)
    on.put(*jobs)
    consumer, closing = on.consumer(), on.consumer()
    retried, released, parked = take_all(consumer, 3)
    last = take(closing)
    on.broker.inspector.cancel([each.id for each in jobs])
    settle(consumer, retried, Retry(0.0, BOOM))
    settle(consumer, released, Release())
    settle(consumer, parked, Park(60.0, BOOM))
    closing.close()
    _reads(on.view(retried.job.id), reasons.cancelled(0.0, 1), "a cancellation, settled with Retry")
    for lease in (released, parked, last):
        _reads(on.view(lease.job.id), reasons.cancelled(0.0), "a cancellation, handed back")


@clause(needs={Capability.STARTS, Capability.LOOKUP})
def a_workers_death_reads_as_everywhere(on: Stage) -> None:
    """The Failure of an attempt whose worker died is that of `core.reasons.worker_died`, with the worker's name."""
    made = job()
    on.put(made)
    dead, other = on.consumer(lease=0.3, name="host-7"), on.consumer()
    dead.settle([], started=[take(dead)])
    time.sleep(0.3)
    eventually(lambda: bool(other.extend()) and on.state(made.id) is State.READY, "a dead worker's job is back")
    _reads(on.view(made.id), reasons.worker_died("host-7", 0.0, 1), "a worker's death")


@clause(needs={Capability.DEAD_JOBS})
def an_undecodable_message_reads_as_everywhere(on: Stage) -> None:
    """The Failure of a message that cannot be decoded says what the codec says of it."""
    raw = b"\xc1garbage"
    on.inject(raw, "q")
    consumer = on.consumer()
    eventually(
        lambda: not consumer.receive(1, wait=0.0) and bool(on.broker.inspector.jobs(State.DEAD).jobs), "the message is dead"
    )
    try:
        decode_job(raw)
    except Undecodable as error:
        _reads(on.broker.inspector.jobs(State.DEAD).jobs[0], reasons.undecodable(str(error), 0.0), "an undecodable message")
