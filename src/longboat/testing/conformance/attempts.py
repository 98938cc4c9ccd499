"""Clauses about what counts as an attempt, and for whom."""

from __future__ import annotations

import time

import msgspec

from longboat.contract.broker import Settlement
from longboat.contract.capabilities import Capability
from longboat.core.job import FAILURES_KEPT, Dead, Done, Failure, Park, Release, Retry, State
from longboat.core.reasons import WORKER_DIED
from longboat.testing.conformance.clause import clause
from longboat.testing.conformance.stage import BOOM, Stage, check, eventually, same, settle, some, take, take_all

KILLED = Failure("longboat.Killed", "signal 9", worker="host-1")


@clause
def attempts_count_from_one(on: Stage) -> None:
    """A lease carries the number of its attempt: 1 at first, one more after each Retry."""
    on.put(*some(1))
    consumer = on.consumer()
    numbers = []
    for _ in range(3):
        lease = take(consumer)
        numbers.append((lease.attempt, lease.failures))
        settle(consumer, lease, Retry(0.0, BOOM))
    same(numbers, [(1, 0), (2, 1), (3, 2)], "attempts, and failures recorded, as leased")


@clause(needs={Capability.LOOKUP, Capability.DEAD_JOBS})
def done_retry_and_dead_count_as_attempts(on: Stage) -> None:
    """Done, Retry and Dead count as an attempt, whether or not a start was recorded."""
    for outcome in (Done(b""), Retry(60.0, BOOM), Dead(BOOM)):
        same(on.view(on.ended(outcome).id).attempts, 1, f"attempts after {type(outcome).__name__}")


@clause(needs={Capability.PARKING})
def release_and_park_count_no_attempt(on: Stage) -> None:
    """Release and Park count no attempt and record no failure, even for a lease whose start was recorded."""
    on.put(*some(2))
    consumer = on.consumer(tasks=["t"])
    one, two = take_all(consumer, 2)
    consumer.settle([Settlement(one, Release()), Settlement(two, Park(60.0, BOOM))], started=[one, two])
    back = take_all(consumer, 2)
    same([(each.attempt, each.worker_deaths, each.failures) for each in back], [(1, 0, 0)] * 2, "attempt, returns, failures")


@clause(needs={Capability.EVICT, Capability.STARTS, Capability.DEATHS, Capability.LOOKUP, Capability.PLACE})
def an_evict_counts_started_leases_only(on: Stage) -> None:
    """When a dead worker is evicted, an attempt counts for leases whose start was recorded, with the given Failure and its
    attempt filled in; all come back with `worker_deaths` one higher.
    """
    jobs = some(3)
    on.put(*jobs)
    first = on.consumer()
    for lease in take_all(first, 3):
        settle(first, lease, Retry(0.0, BOOM))
    consumer = on.consumer()
    leases = take_all(consumer, 3)
    consumer.settle([], started=[leases[1], leases[1]])
    on.broker.evict(consumer.id, KILLED)
    back = take_all(on.consumer(), 3)
    told = [(each.attempt, each.worker_deaths, each.failures) for each in back]
    same(told, [(2, 1, 1), (3, 1, 2), (2, 1, 1)], "attempt, returns, failures after the evict")
    same(on.view(jobs[1].id).failures[-1], msgspec.structs.replace(KILLED, attempt=2), "the failure recorded")
    same([failure.type for failure in on.view(jobs[0].id).failures], [BOOM.type], "its neighbour's failures")


@clause(needs={Capability.STARTS, Capability.DEATHS, Capability.LOOKUP})
def a_lapsed_lease_counts_if_it_had_started(on: Stage) -> None:
    """When heartbeats stop, an attempt counts for started leases, with a Failure "longboat.WorkerDied" that names the
    worker; all come back with `worker_deaths` one higher.
    """
    jobs = some(2)
    on.put(*jobs)
    dead, other = on.consumer(lease=0.3, name="host-7"), on.consumer()
    leases = take_all(dead, 2)
    dead.settle([], started=leases[:1])
    time.sleep(0.3)
    eventually(lambda: bool(other.extend()) and on.state(jobs[1].id) is State.READY, "a dead worker's jobs are back")
    back = take_all(other, 2)
    same([(each.attempt, each.worker_deaths) for each in back], [(2, 1), (1, 1)], "attempt and returns")
    failure = on.view(jobs[0].id).failures[-1]
    same((failure.type, failure.attempt), (WORKER_DIED, 1), "type and attempt of the failure recorded")
    check("host-7" in (failure.worker, failure.message), f"the failure does not name the worker: {failure}")
    same(on.view(jobs[1].id).failures, [], "its neighbour's failures")


@clause(needs={Capability.EVICT, Capability.STARTS, Capability.LOOKUP})
def a_settled_lease_counts_once(on: Stage) -> None:
    """A lease that was recorded as started and then settled counts once, whatever becomes of its worker."""
    on.put(*some(2))
    consumer = on.consumer()
    one, two = take_all(consumer, 2)
    consumer.settle([Settlement(one, Retry(60.0, BOOM)), Settlement(two, Release(60.0))], started=[one, two])
    same(on.broker.evict(consumer.id, KILLED), 0, "jobs that came back")
    same([on.view(lease.job.id).attempts for lease in (one, two)], [1, 0], "attempts that count")


@clause(needs={Capability.EVICT, Capability.STARTS, Capability.DEATHS})
def a_start_is_forgotten_with_its_lease(on: Stage) -> None:
    """What was recorded of one lease says nothing about the next: a job released after its start and leased again has not
    started.
    """
    on.put(*some(1))
    consumer = on.consumer()
    lease = take(consumer)
    consumer.settle([Settlement(lease, Release())], started=[lease])
    take(consumer)
    on.broker.evict(consumer.id, KILLED)
    back = take(on.consumer())
    same((back.attempt, back.worker_deaths), (1, 1), "attempt and returns")


@clause(needs={Capability.EVICT, Capability.STARTS, Capability.DEATHS})
def worker_deaths_count_since_an_attempt_ended(on: Stage) -> None:
    """`worker_deaths` grows with each worker that died with the job, survives Release and close, and the end of an attempt
    resets it.
    """
    on.put(*some(1))
    for expected in (0, 1):
        consumer = on.consumer()
        lease = take(consumer)
        same(lease.worker_deaths, expected, "returns")
        consumer.settle([], started=[lease] * expected)
        on.broker.evict(consumer.id, KILLED)
    closing = on.consumer()
    same(take(closing).worker_deaths, 2, "returns after two deaths")
    closing.close()
    consumer = on.consumer()
    lease = take(consumer)
    same(lease.worker_deaths, 2, "returns after a close")
    settle(consumer, lease, Release())
    lease = take(consumer)
    same(lease.worker_deaths, 2, "returns after a release")
    settle(consumer, lease, Retry(0.0, BOOM))
    same(take(consumer).worker_deaths, 0, "returns after an attempt ended")


@clause(needs={Capability.DEAD_JOBS, Capability.LOOKUP})
def a_death_may_count_no_attempt(on: Stage) -> None:
    """Dead(counted=False) ends a job whose attempts are used up without counting one more."""
    on.put(*some(1))
    consumer = on.consumer()
    lease = take(consumer)
    settle(consumer, lease, Dead(BOOM, counted=False))
    view = on.view(lease.job.id)
    same((view.state, view.attempts, len(view.failures)), (State.DEAD, 0, 1), "state, attempts and failures")


@clause(needs={Capability.LOOKUP})
def failures_are_kept_oldest_first(on: Stage) -> None:
    """Every failed attempt is kept with the job, oldest first; of very many, the newest are kept."""
    on.put(*some(1))
    consumer = on.consumer()
    for n in range(1, FAILURES_KEPT + 4):
        lease = take(consumer)
        same(lease.attempt, n, "the attempt")
        settle(consumer, lease, Retry(0.0, msgspec.structs.replace(BOOM, attempt=n)))
        if n in (3, FAILURES_KEPT + 3):
            kept = [failure.attempt for failure in on.view(lease.job.id).failures]
            same(kept, list(range(1, n + 1))[-FAILURES_KEPT:], f"attempts of the failures kept after {n}")
