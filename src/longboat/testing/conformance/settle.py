"""Clauses about settling leases."""

from __future__ import annotations

import time

from longboat.contract.broker import Settlement
from longboat.contract.capabilities import Capability
from longboat.core.job import Cancelled, Dead, Done, Outcome, Park, Release, Retry, State
from longboat.testing.conformance.clause import clause
from longboat.testing.conformance.stage import BOOM, Stage, check, ids, nothing, same, settle, some, take, take_all


@clause(needs={Capability.LOOKUP, Capability.PARKING, Capability.DEAD_JOBS})
def outcomes_of_any_mixture_settle_together(on: Stage) -> None:
    """One settle takes outcomes of every kind, and each job ends up where its outcome says."""
    jobs = some(7)
    on.put(*jobs)
    consumer = on.consumer()
    outcomes: list[Outcome] = [
        Done(b"r"),
        Retry(60.0, BOOM),
        Retry(0.0, BOOM),
        Dead(BOOM),
        Cancelled(BOOM),
        Release(60.0),
        Park(60.0, BOOM),
    ]
    leases = take_all(consumer, 7)
    settlements = [Settlement(lease, outcome) for lease, outcome in zip(leases, outcomes, strict=True)]
    same(consumer.settle(settlements, started=leases[:2]), [], "refused settlements")
    states = [view.state if view else None for view in on.broker.inspector.find(ids(jobs))]
    wanted = ["succeeded", "scheduled", "ready", "dead", "cancelled", "scheduled", "waiting"]
    same(states, wanted, "states after the settle")


@clause
def a_retry_comes_back_after_its_delay(on: Stage) -> None:
    """Retry makes the job ready again when its delay is over, not before."""
    on.put(*some(1))
    consumer = on.consumer()
    lease = take(consumer)
    began = time.monotonic()
    settle(consumer, lease, Retry(0.2, BOOM))
    same(take(consumer).attempt, 2, "the attempt of the retry")
    check(time.monotonic() - began >= 0.199, "a retry came back before its delay was over")


@clause
def a_release_comes_back_after_its_delay(on: Stage) -> None:
    """Release hands the job back without counting an attempt, at once or when its delay is over."""
    on.put(*some(1))
    consumer = on.consumer()
    settle(consumer, take(consumer), Release())
    again = consumer.receive(1, wait=0.0)
    same(len(again), 1, "jobs received at once after a release without delay")
    began = time.monotonic()
    settle(consumer, again[0], Release(0.2))
    same(take(consumer).attempt, 1, "the attempt after two releases")
    check(time.monotonic() - began >= 0.199, "a released job came back before its delay was over")


@clause
def what_ended_is_not_received_again(on: Stage) -> None:
    """Nobody ever receives a job again that succeeded, died or was cancelled."""
    for outcome in (Done(b""), Dead(BOOM), Cancelled(BOOM)):
        on.ended(outcome)
    consumer = on.consumer()
    nothing(consumer, wait=0.2)
    consumer.extend()
    nothing(consumer)


@clause(needs={Capability.LOOKUP})
def settling_again_is_refused_and_harmless(on: Stage) -> None:
    """A lease settles once. Settled again, in the same call or later, it is returned and changes nothing."""
    on.put(*some(2))
    consumer = on.consumer()
    one, two = take_all(consumer, 2)
    refused = consumer.settle([Settlement(one, Done(b"first")), Settlement(one, Dead(BOOM))])
    check(refused == [one], "the second of two settlements of one lease was not returned")
    settle(consumer, two, Release(60.0))
    refused = consumer.settle([Settlement(one, Retry(0.0, BOOM)), Settlement(two, Done(b""))], started=[two])
    same({id(lease) for lease in refused}, {id(one), id(two)}, "leases returned")
    view = on.view(one.job.id)
    same((view.state, view.result, view.attempts), (State.SUCCEEDED, b"first", 1), "the job settled twice")
    same(on.state(two.job.id), State.SCHEDULED, "the job released")


@clause(needs={Capability.LOOKUP, Capability.EVICT})
def a_stale_lease_settles_nothing(on: Stage) -> None:
    """Once a job came back, its old lease is refused: while the job waits, while another worker runs it, and after it
    ended.
    """
    on.put(*some(1))
    old, new = on.consumer(), on.consumer(of=on.another())
    stale = take(old)
    on.broker.evict(old.id, BOOM)
    for outcome in (Done(b"stale"), Dead(BOOM), Release(60.0)):
        check(old.settle([Settlement(stale, outcome)]) == [stale], "a stale lease settled a job that waits")
    lease = take(new)
    refused = old.settle([Settlement(stale, Done(b"stale"))], started=[stale])
    check(set(refused) == {stale}, "a stale lease settled")
    check(old.settle([], started=[stale]) == [stale], "the start of a stale lease was noted")
    same(on.state(lease.job.id), State.RUNNING, "the job after a stale settle")
    settle(new, lease, Done(b"good"))
    check(old.settle([Settlement(stale, Dead(BOOM))]) == [stale], "a stale lease settled a job that ended")
    same(on.view(lease.job.id).result, b"good", "the result after all that")


@clause(needs={Capability.LOOKUP})
def an_older_lease_of_the_same_consumer_is_stale(on: Stage) -> None:
    """A consumer that receives a job again settles it with its new lease only."""
    on.put(*some(1))
    consumer = on.consumer()
    old = take(consumer)
    settle(consumer, old, Release())
    new = take(consumer)
    check(set(consumer.settle([Settlement(old, Dead(BOOM))], started=[old])) == {old}, "an old lease was not refused")
    settle(consumer, new, Done(b"good"))
    same(on.view(new.job.id).state, State.SUCCEEDED, "the job")


@clause
def a_lease_settles_for_its_consumer_only(on: Stage) -> None:
    """Another consumer cannot settle a lease, even if it knows everything about it."""
    on.put(*some(1))
    owner, stranger = on.consumer(), on.consumer()
    lease = take(owner)
    check(set(stranger.settle([Settlement(lease, Dead(BOOM))], started=[lease])) == {lease}, "a stranger settled")
    settle(owner, lease, Done(b"good"))


@clause(needs={Capability.LOOKUP})
def a_refused_settlement_harms_no_neighbour(on: Stage) -> None:
    """Outcomes beside a stale lease in the same settle are recorded as if the stale one were not there."""
    on.put(*some(3))
    consumer = on.consumer()
    leases = take_all(consumer, 3)
    settle(consumer, leases[1])
    check(consumer.settle([Settlement(lease, Done(b"x")) for lease in leases]) == [leases[1]], "leases returned")
    states = [on.state(lease.job.id) for lease in leases]
    same(states, [State.SUCCEEDED] * 3, "states")
