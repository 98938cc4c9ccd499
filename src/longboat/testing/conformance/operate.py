"""Clauses about an operator's changes: cancel, retry, purge, prune."""

from __future__ import annotations

import math
import time

from longboat.contract.broker import ENDED_KEPT, Lease, Settlement
from longboat.contract.capabilities import Capability
from longboat.contract.results import Listener
from longboat.core.job import Cancelled, Dead, Done, Outcome, Park, Release, Retry, State
from longboat.core.reasons import CANCELLED
from longboat.testing.conformance.clause import clause
from longboat.testing.conformance.stage import (
    BOOM,
    Stage,
    check,
    eventually,
    ids,
    job,
    limits,
    meanwhile,
    nothing,
    same,
    settle,
    some,
    take,
    take_all,
    timed,
)


@clause(needs={Capability.CANCEL, Capability.LOOKUP, Capability.PARKING})
def a_job_that_is_not_leased_is_cancelled_at_once(on: Stage) -> None:
    """Cancel ends a ready, scheduled, retried or parked job at once, with a Failure that says so; nobody receives it."""
    scheduled = job(delay=60.0)
    parked, retried = on.ended(Park(60.0, BOOM)), on.ended(Retry(60.0, BOOM))
    on.put(ready := job(), scheduled)
    jobs = ids([ready, scheduled, parked, retried])
    same(sorted(on.another().inspector.cancel(jobs)), sorted(jobs), "ids cancelled")
    for each in jobs:
        view = on.view(each)
        same((view.state, view.failures[-1].type), (State.CANCELLED, CANCELLED), "state and last failure")
    nothing(on.consumer(tasks=["t"]))


@clause(needs={Capability.CANCEL, Capability.LOOKUP})
def a_running_jobs_cancellation_is_told(on: Stage) -> None:
    """Cancelling a leased job has `extend` tell its consumer, at every heartbeat until it is settled, and nobody else."""
    on.put(*some(2))
    consumer, other = on.consumer(), on.consumer()
    one, two = take_all(consumer, 2)
    same(list(consumer.extend().cancelled), [], "cancellations told before one was asked for")
    same(on.another().inspector.cancel([one.job.id]), [one.job.id], "ids cancelled")
    same(on.state(one.job.id), State.RUNNING, "the state until it settles")
    for _ in range(2):
        same(list(consumer.extend().cancelled), [one.job.id], "cancellations told")
    same(list(other.extend().cancelled), [], "cancellations told to another")
    settle(consumer, one, Cancelled(BOOM))
    same(list(consumer.extend().cancelled), [], "cancellations told after the settle")
    same((on.state(one.job.id), on.state(two.job.id)), (State.CANCELLED, State.RUNNING), "states")


@clause(needs={Capability.CANCEL})
def a_cancellation_ends_a_waiting_receive(on: Stage) -> None:
    """When a leased job is cancelled, the waiting receive of its consumer returns, so that it can extend."""
    on.put(*some(1))
    consumer = on.consumer()
    lease = take(consumer)
    began = time.monotonic()
    receiving = meanwhile(lambda: consumer.receive(1, wait=limits.wait))
    time.sleep(0.05)
    on.another().inspector.cancel([lease.job.id])
    same(receiving(), [], "received")
    check(time.monotonic() - began < limits.prompt, "the receive went on waiting after a cancellation was asked for")
    same(list(consumer.extend().cancelled), [lease.job.id], "cancellations told")


@clause(needs={Capability.CANCEL, Capability.LOOKUP, Capability.PARKING})
def a_cancelled_job_settles_as_it_ends(on: Stage) -> None:
    """A leased job that was cancelled may still succeed or die. If it would come back it is cancelled; a Retry counts its
    attempt and keeps its failure.
    """
    wanted: list[tuple[Outcome, State]] = [
        (Done(b"x"), State.SUCCEEDED),
        (Dead(BOOM), State.DEAD),
        (Retry(0.0, BOOM), State.CANCELLED),
        (Release(), State.CANCELLED),
        (Park(60.0, BOOM), State.CANCELLED),
    ]
    on.put(*some(5))
    consumer = on.consumer()
    leases = take_all(consumer, 5)
    on.broker.inspector.cancel(ids(leases))
    pairs = [Settlement(lease, outcome) for lease, (outcome, _) in zip(leases, wanted, strict=True)]
    same(consumer.settle(pairs), [], "refused settlements")
    same([on.state(each) for each in ids(leases)], [state for _, state in wanted], "states")
    retried = on.view(leases[2].job.id)
    same((retried.attempts, [failure.type for failure in retried.failures]), (1, [BOOM.type, CANCELLED]), "the Retry")
    nothing(on.consumer(tasks=["t"]))


@clause(needs={Capability.CANCEL, Capability.LOOKUP, Capability.EVICT, Capability.STARTS})
def a_cancelled_jobs_worker_may_die(on: Stage) -> None:
    """A leased job that was cancelled does not run again when its consumer is evicted, lost or closed: it is cancelled. If
    it had started, the attempt counts.
    """
    on.put(*some(3))
    evicted, closed, lost = on.consumer(), on.consumer(), on.consumer(lease=0.3)
    leases: list[Lease] = [take(consumer) for consumer in (evicted, closed, lost)]
    evicted.settle([], started=leases[:1])
    on.broker.inspector.cancel(ids(leases))
    on.broker.evict(evicted.id, BOOM)
    closed.close()
    time.sleep(0.3)
    other = on.consumer()
    end = time.monotonic() + limits.sweep
    while on.state(leases[2].job.id) is State.RUNNING and time.monotonic() < end:
        other.extend()
        nothing(other, wait=0.05)
    same([on.state(each) for each in ids(leases)], [State.CANCELLED] * 3, "states")
    failures = [[failure.type for failure in on.view(each).failures] for each in ids(leases)]
    same(failures, [[BOOM.type, CANCELLED], [CANCELLED], [CANCELLED]], "failures kept")
    same([on.view(each).attempts for each in ids(leases)], [1, 0, 0], "attempts that count")


@clause(needs={Capability.CANCEL, Capability.LOOKUP, Capability.DEAD_JOBS})
def what_has_ended_cannot_be_cancelled(on: Stage) -> None:
    """Cancel has no effect on ended and unknown jobs, and does not return their ids."""
    outcomes: list[Outcome] = [Done(b"x"), Dead(BOOM), Cancelled(BOOM)]
    ended = [on.ended(outcome).id for outcome in outcomes]
    views = on.broker.inspector.find(ended)
    same(on.broker.inspector.cancel([*ended, "nobody"]), [], "ids cancelled")
    same(on.broker.inspector.find(ended), views, "the jobs after that")


@clause(needs={Capability.DEAD_JOBS, Capability.LOOKUP})
def a_retried_job_starts_afresh(on: Stage) -> None:
    """Retry makes a dead job ready at once; its attempts count from none and its failures are kept."""
    jobs = some(1)
    on.put(*jobs)
    consumer = on.consumer()
    settle(consumer, take(consumer), Retry(0.0, BOOM))
    settle(consumer, take(consumer), Dead(BOOM))
    same(on.another().inspector.retry(ids(jobs)), ids(jobs), "ids revived")
    view = on.view(jobs[0].id)
    same((view.state, view.attempts, len(view.failures)), (State.READY, 0, 2), "state, attempts, failures")
    lease = take(consumer)
    same((lease.attempt, lease.failures, lease.worker_deaths), (1, 2, 0), "attempt, failures, returns as leased")
    settle(consumer, lease)
    same(on.state(jobs[0].id), State.SUCCEEDED, "the state in the end")


@clause(needs={Capability.DEAD_JOBS, Capability.LOOKUP})
def a_retry_by_an_operator_wakes_a_waiting_receive(on: Stage) -> None:
    """A waiting consumer receives a dead job as soon as it is retried."""
    dead = on.ended(Dead(BOOM))
    consumer = on.consumer()
    receiving = meanwhile(lambda: timed(lambda: take(consumer)))
    time.sleep(0.05)
    on.another().inspector.retry([dead.id])
    retried = time.monotonic()
    lease, at = receiving()
    same(lease.job.id, dead.id, "received")
    check(at - retried < limits.prompt, "who waited was not woken")


@clause(needs={Capability.DEAD_JOBS, Capability.LOOKUP, Capability.EXPIRY, Capability.PARKING})
def a_retried_job_does_not_expire(on: Stage) -> None:
    """A job that died without a start (no worker knew its task) runs when it is retried after its expiry."""
    dead = job(expires=0.3)
    on.put(dead)
    consumer = on.consumer()
    settle(consumer, take(consumer), Dead(BOOM))
    parked = job(expires=0.6)
    on.put(parked)
    settle(consumer, take(consumer), Park(0.01, BOOM))
    end = time.monotonic() + 0.5
    while on.state(parked.id) is not State.DEAD and time.monotonic() < end:
        consumer.receive(1, wait=0.02)
        consumer.extend()
    time.sleep(max(0.0, end + 0.15 - time.monotonic()))
    retried = on.broker.inspector.retry([dead.id, parked.id])
    same(sorted(ids(take_all(consumer, len(retried)))), sorted(retried), "revived jobs received")
    check(dead.id in retried, "a dead job was not revived")


@clause(needs={Capability.DEAD_JOBS, Capability.LOOKUP})
def only_dead_jobs_are_retried(on: Stage) -> None:
    """Retry has no effect on jobs that are not dead, and does not return their ids."""
    done, cancelled = on.ended(Done(b"")), on.ended(Cancelled(BOOM))
    on.put(ready := job())
    jobs = ids([done, cancelled, ready])
    same(on.broker.inspector.retry([*jobs, "nobody"]), [], "ids revived")
    states = [on.state(each) for each in jobs]
    same(states, [State.SUCCEEDED, State.CANCELLED, State.READY], "states")


@clause(needs={Capability.PURGE, Capability.COUNTS, Capability.DEAD_JOBS})
def purge_deletes_jobs_by_state_and_queue(on: Stage) -> None:
    """Purge deletes jobs of these states and this queue, at most as many as its limit says, and returns how many."""
    inspector = on.broker.inspector
    on.put(*some(7), *some(2, queue="other"), *some(2, delay=60.0))
    on.ended(Dead(BOOM), queue="dead")
    same(inspector.purge([State.READY], queue="q", limit=5), 5, "jobs purged with a limit of 5")
    same(inspector.purge([State.READY], queue="q"), 2, "jobs purged then")
    same(inspector.purge([State.READY], queue="q"), 0, "jobs purged at last")
    wanted = {("other", State.READY): 2, ("q", State.SCHEDULED): 2, ("dead", State.DEAD): 1}
    same(dict(inspector.counts()), wanted, "jobs left")
    same(inspector.purge([State.READY, State.SCHEDULED, State.DEAD]), 5, "jobs purged of all queues")
    same(dict(inspector.counts()), {}, "jobs left")
    nothing(on.consumer("q", "other"))


@clause(needs={Capability.PURGE, Capability.LOOKUP})
def running_jobs_are_never_purged(on: Stage) -> None:
    """Purge leaves leased jobs alone, whatever states it is given."""
    on.put(*some(2))
    consumer = on.consumer()
    lease = consumer.receive(1, wait=1.0)[0]
    same(on.broker.inspector.purge(list(State)), 1, "jobs purged")
    settle(consumer, lease)
    same(on.state(lease.job.id), State.SUCCEEDED, "the job that ran")


@clause(needs={Capability.RESULTS, Capability.COUNTS})
def prune_deletes_what_is_over(on: Stage) -> None:
    """Prune deletes ended jobs whose time is over, at most as many as its limit says, and never others."""
    inspector = on.broker.inspector
    for keep in (0.3, 0.3, 0.3, 60.0):
        on.ended(Done(b""), keep=keep)
    on.put(job(keep=0.0), job(keep=0.0, delay=60.0))
    time.sleep(0.35)
    check(inspector.prune(limit=2) <= 2, "prune deleted more than its limit")
    for _ in range(5):
        inspector.prune()
    wanted = {("q", State.SUCCEEDED): 1, ("q", State.READY): 1, ("q", State.SCHEDULED): 1}
    same(dict(inspector.counts()), wanted, "jobs left")


@clause(needs={Capability.QUEUE_LENGTHS})
def housekeeping_prunes(on: Stage) -> None:
    """What is over is deleted without an operator, by the housekeeping that workers do."""
    on.ended(Done(b""), keep=0.1)
    consumer = on.consumer()
    end = time.monotonic() + limits.patient
    while on.broker.inspector.counts() and time.monotonic() < end:
        consumer.extend()
        time.sleep(0.05)
    same(dict(on.broker.inspector.counts()), {}, "jobs left after much housekeeping")


@clause(needs={Capability.EXACT_COUNTS, Capability.COUNTS, Capability.CANCEL, Capability.LOOKUP})
def the_newest_of_very_many_ended_jobs_are_kept(on: Stage) -> None:
    """The newest ENDED_KEPT ended jobs of a queue stay; older ones are pruned although their time is not over."""
    inspector = on.broker.inspector
    old = some(200, keep=3600.0)
    jobs = old + some(ENDED_KEPT, keep=3600.0)
    for start in range(0, len(jobs), 5000):
        on.put(*jobs[start : start + 5000])
        inspector.cancel(ids(jobs[start : start + 5000]))
    there, end = math.inf, 0.0
    while (now := inspector.counts()["q", State.CANCELLED]) > ENDED_KEPT and (now < there or time.monotonic() < end):
        if now < there:  # it may take its time, as long as they become fewer
            there, end = now, time.monotonic() + limits.patient
        inspector.prune()
    same(dict(inspector.counts()), {("q", State.CANCELLED): ENDED_KEPT}, "jobs left")
    same([view is None for view in inspector.find([old[0].id, old[-1].id, jobs[-1].id])], [True, True, False], "gone")


@clause(needs={Capability.REVOKE, Capability.REPLIES})
def a_cancelled_job_is_received_by_nobody(on: Stage) -> None:
    """A job that was cancelled while it was queued or delayed is leased to nobody, and who put it is told so."""
    unwanted, later, wanted = job(), job(delay=0.3), job()
    on.put(unwanted, later, wanted)
    listener = on.listener(unwanted.id, later.id)
    cancelled = ids([unwanted, later])
    same(sorted(on.another().inspector.cancel(cancelled)), sorted(cancelled), "ids cancelled")
    consumer = on.consumer()
    same(take(consumer).job.id, wanted.id, "the job received")
    nothing(consumer, wait=0.6)
    told: dict[str, str] = {}
    eventually(lambda: told.update(_ends(listener)) or len(told) == 2, "both cancellations are told")
    same(told, dict.fromkeys(cancelled, CANCELLED), "what is told")


@clause(needs={Capability.REVOKE})
def a_cancellation_reaches_the_lease(on: Stage) -> None:
    """Cancelling a leased job has `extend` tell its consumer until it is settled. If it comes back, nobody receives it."""
    on.put(*some(3))
    consumer, other = on.consumer(), on.consumer("other")
    leases = take_all(consumer, 3)
    on.another().inspector.cancel(ids(leases[:2]))
    eventually(lambda: sorted(consumer.extend().cancelled) == ids(leases[:2]), "both cancellations are told")
    same(list(other.extend().cancelled), [], "cancellations told to another")
    settle(consumer, leases[0], Retry(0.0, BOOM))
    eventually(lambda: list(consumer.extend().cancelled) == [leases[1].job.id], "one is left to be told")
    consumer.close()
    same(take(last := on.consumer()).job.id, leases[2].job.id, "the job received")
    nothing(last, wait=0.3)


def _ends(listener: Listener) -> dict[str, str]:
    """By id: the type of the failure of what ended."""
    return {result.id: result.failure.type if result.failure else "" for result in listener.wait(0.1)}
