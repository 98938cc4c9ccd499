"""Clauses about jobs that come after others."""

from __future__ import annotations

from longboat.contract.broker import Consumer, Settlement
from longboat.contract.capabilities import Capability
from longboat.core.constraints import Constraints
from longboat.core.job import Cancelled, Dead, Done, State
from longboat.errors import UnknownParent
from longboat.testing.conformance.chains import follower
from longboat.testing.conformance.clause import clause
from longboat.testing.conformance.stage import (
    BOOM,
    Stage,
    check,
    eventually,
    ids,
    job,
    meanwhile,
    nothing,
    same,
    settle,
    some,
    take,
    take_all,
)

NEEDS = {Capability.DEPENDENCIES}
"""Of every clause here."""


def _finish(consumer: Consumer, *results: bytes) -> None:
    for result in results:
        settle(consumer, take(consumer), Done(result))


@clause(needs={Capability.LOOKUP, Capability.COUNTS})
def a_job_waits_for_its_parents(on: Stage) -> None:
    """A job after others waits until the last of them has succeeded, and counts as waiting."""
    parents = some(2)
    child, later = follower(*parents), follower(*parents, delay=60.0)
    same(on.put(*parents, child, later), ids([*parents, child, later]), "new ids")
    consumer = on.consumer()
    first, second = take_all(consumer, 2)
    nothing(consumer, why="received before its parents have succeeded")
    same(on.state(child.id), State.WAITING, "the state before")
    settle(consumer, first)
    nothing(consumer, why="received before the last of its parents has succeeded")
    settle(consumer, second)
    same(take(consumer).job.id, child.id, "received then")
    same(on.state(later.id), State.SCHEDULED, "the state of one with a delay")
    same(on.broker.inspector.counts().get(("q", State.WAITING), 0), 0, "waiting jobs counted then")


@clause
def a_lease_tells_the_results_of_the_parents(on: Stage) -> None:
    """The lease of a job after others has their results, in the order of `after`, twice where one is named twice."""
    parents = some(3, keep=0.0)
    child = follower(parents[2], parents[0], parents[1], parents[0])
    on.put(*parents, child)
    consumer = on.consumer()
    _finish(consumer, b"\x01", b"\x02", b"\x03")
    lease = take(on.consumer(of=on.another()))
    same((lease.job, list(lease.inputs)), (child, [b"\x03", b"\x01", b"\x02", b"\x01"]), "the lease")


@clause(needs={Capability.LOOKUP})
def a_parent_may_have_succeeded_before(on: Stage) -> None:
    """A job put after one that has succeeded already is ready at once, with its result."""
    done, waiting = on.ended(Done(b"\x05")), job(queue="later")
    on.put(waiting)
    on.put(at_once := follower(done), both := follower(done, waiting))
    lease = take(on.consumer())
    same((lease.job.id, list(lease.inputs)), (at_once.id, [b"\x05"]), "received at once")
    same(on.state(both.id), State.WAITING, "the one with another parent")
    _finish(on.consumer("later"), b"\x06")
    same(list(take(on.consumer()).inputs), [b"\x05", b"\x06"], "its inputs")


@clause(needs={Capability.LOOKUP, Capability.TOKENS})
def a_job_after_an_unknown_one_is_refused(on: Stage) -> None:
    """A job after one that is neither here nor before it in the batch raises UnknownParent, and nothing is stored."""
    stranger, other = job(), job()
    for batch in ([other, follower(stranger)], [other, follower(stranger), stranger]):
        try:
            on.broker.put(batch, token=("c", 1))
        except UnknownParent:
            same(on.broker.inspector.find(ids(batch)), [None] * len(batch), "what was stored with it")
        else:
            raise AssertionError("a job after an unknown one was taken")
    same(on.put(other, token=("c", 1)), [other.id], "put under the token of what was refused")
    same(on.state(other.id), State.READY, "its state")


@clause(needs={Capability.TOKENS})
def a_put_with_parents_can_be_tried_again(on: Stage) -> None:
    """Retrying a put with its token is safe even when the parents have ended and are forgotten."""
    parent = job(keep=0.0)
    child = follower(parent, keep=0.0)
    on.put(parent, token=("c", 1))
    on.put(child, token=("c", 2))
    consumer = on.consumer()
    _finish(consumer, b"\x01", b"\x02")
    try:
        again = on.put(child, token=("c", 2))
    except UnknownParent as error:
        raise AssertionError("a put tried again was refused") from error
    same(again, [child.id], "the put tried again")
    nothing(consumer)


@clause(needs={Capability.LOOKUP, Capability.DEAD_JOBS})
def a_dead_parent_leaves_its_followers_waiting(on: Stage) -> None:
    """When a parent is dead or cancelled the job keeps waiting; once the parent was retried and succeeds, it is ready."""
    parent, other = some(2)
    on.put(parent, other, child := follower(parent), orphan := follower(other))
    consumer = on.consumer()
    for outcome in (Dead(BOOM), Cancelled(BOOM)):
        settle(consumer, take(consumer), outcome)
    nothing(consumer, why="received though the parent is dead")
    same([on.state(each.id) for each in (child, orphan)], [State.WAITING] * 2, "the followers")
    on.broker.inspector.retry([parent.id])
    _finish(consumer, b"\x09")
    lease = take(consumer)
    same((lease.job.id, list(lease.inputs)), (child.id, [b"\x09"]), "received after the revival")


@clause(needs={Capability.LOOKUP, Capability.CANCEL, Capability.EXPIRY, Capability.PURGE})
def a_follower_can_be_cancelled_and_expires(on: Stage) -> None:
    """A waiting job can be cancelled and expires by its put's time; its parent's success changes nothing then."""
    parent = job()
    on.put(parent, cancelled := follower(parent), expired := follower(parent, expires=0.2), purged := follower(parent))
    same(on.broker.inspector.cancel([cancelled.id]), [cancelled.id], "cancelled")
    consumer = on.consumer()
    eventually(lambda: bool(consumer.extend()) and on.state(expired.id) is State.CANCELLED, "a waiting job expires")
    same(on.broker.inspector.purge([State.WAITING]), 1, "purged")
    _finish(consumer, b"\x01")
    nothing(consumer, why="received though it has ended")
    same(on.broker.inspector.find([purged.id]), [None], "the purged one")


@clause
def one_job_after_very_many(on: Stage) -> None:
    """One job after 2,000 others, settled by several consumers, runs once, after all of them, with all their results."""
    parents = some(2000, keep=0.0)
    child = follower(*parents, queue="last")
    for start in range(0, 2000, 500):
        on.put(*parents[start : start + 500])
    on.put(child)
    last = on.consumer("last", of=on.another())

    def work() -> int:
        consumer, done = on.another().consumer(["q"], lease=60.0), 0
        while leases := consumer.receive(100, wait=0.0):
            check(not last.receive(1, wait=0.0), "received before its last parent")
            consumer.settle([Settlement(lease, Done(b"\xcd" + lease.attempt.to_bytes(2, "big"))) for lease in leases])
            done += len(leases)
        consumer.close()
        return done

    joins = [meanwhile(work) for _ in range(3)]
    same(sum(join() for join in joins), 2000, "parents settled")
    lease = take(last)
    same((lease.job.id, list(lease.inputs)), (child.id, [b"\xcd\x00\x01"] * 2000), "the lease")
    nothing(last, why="received twice")
    settle(last, lease)


@clause(needs={Capability.LOOKUP})
def a_view_has_the_constraints(on: Stage) -> None:
    """A view has the job's constraints and headers."""
    parent = job()
    constraints = Constraints(flow="f", after=[parent.id])
    on.put(parent, child := job(constraints=constraints, headers={"a": "b"}))
    same((on.view(child.id).constraints, on.view(child.id).headers), (constraints, {"a": "b"}), "constraints and headers")
    same((on.view(parent.id).constraints, on.view(parent.id).headers), (None, {}), "of one that has none")


@clause(needs={Capability.EVICT})
def results_of_parents_outlive_a_worker(on: Stage) -> None:
    """A dependent job gets its parents' results again when its worker has died."""
    parent = job(keep=0.0)
    on.put(parent, follower(parent))
    consumer = on.consumer()
    _finish(consumer, b"\x07")
    same(list(take(consumer).inputs), [b"\x07"], "its inputs")
    on.broker.evict(consumer.id, BOOM)
    same(list(take(on.consumer()).inputs), [b"\x07"], "inputs after its worker died")
