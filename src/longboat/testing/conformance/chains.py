"""Clauses about jobs that come after exactly one other of the same put."""

from __future__ import annotations

import time
from typing import Any

from longboat.contract.capabilities import Capability
from longboat.core.constraints import Constraints
from longboat.core.job import Dead, Done, Job, Release, Retry
from longboat.testing.conformance.clause import clause
from longboat.testing.conformance.stage import (
    BOOM,
    Stage,
    check,
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

NEEDS = {Capability.CHAINS}
"""Of every clause here."""


def follower(*parents: Job, **fields: Any) -> Job:
    return job(constraints=Constraints(after=[parent.id for parent in parents]), **fields)


@clause
def a_chain_goes_step_by_step(on: Stage) -> None:
    """Jobs each after the one before run in that order, each with the result before it."""
    chain = some(1)
    for _ in range(30):
        chain.append(follower(chain[-1]))
    on.put(*chain)
    consumer = on.consumer()
    for place, each in enumerate(chain):
        lease = take(consumer)
        expected = [bytes([place - 1])] if place else []
        same((lease.job.id, list(lease.inputs)), (each.id, expected), f"step {place}")
        settle(consumer, lease, Done(bytes([place])))


@clause
def a_step_is_as_it_was_put(on: Stage) -> None:
    """A job after another is received from its queue as it was put, not before the other has succeeded."""
    first, other = job(), job()
    step = follower(first, queue="next", task="u", payload=b"\x81\xa1a\x01", headers={"a": "b"}, priority=1)
    on.put(first, other, step)
    consumer, next_one = on.consumer(), on.consumer("next", of=on.another())
    leases = {lease.job.id: lease for lease in take_all(consumer, 2)}
    settle(consumer, leases[other.id])
    nothing(next_one, why="received before the job that it comes after has succeeded")
    settle(consumer, leases[first.id], Done(b"\x05"))
    lease = take(next_one)
    same((lease.job, list(lease.inputs), lease.attempt), (step, [b"\x05"], 1), "the lease")


@clause
def several_may_come_after_one(on: Stage) -> None:
    """Each of several jobs after the same one is received once that has succeeded, with its result; what follows goes on."""
    first = job()
    left, right = follower(first), follower(first)
    last = follower(right)
    on.put(first, left, right, last)
    consumer = on.consumer()
    settle(consumer, take(consumer), Done(b"\x01"))
    leases = {lease.job.id: lease for lease in take_all(consumer, 2)}
    told = {name: list(lease.inputs) for name, lease in leases.items()}
    same(told, {left.id: [b"\x01"], right.id: [b"\x01"]}, "inputs of both")
    settle(consumer, leases[right.id], Done(b"\x02"))
    lease = take(consumer)
    same((lease.job.id, list(lease.inputs)), (last.id, [b"\x02"]), "the last")


@clause(needs={Capability.DEAD_JOBS})
def a_dead_job_holds_up_its_chain(on: Stage) -> None:
    """What comes after a dead job is not received; once that was retried and succeeds, the chain goes on."""
    first = job()
    on.put(first, step := follower(first))
    consumer = on.consumer()
    settle(consumer, take(consumer), Dead(BOOM))
    nothing(consumer, why="received though what it comes after is dead")
    on.broker.inspector.retry([first.id])
    settle(consumer, take(consumer), Done(b"\x09"))
    lease = take(consumer)
    same((lease.job.id, list(lease.inputs)), (step.id, [b"\x09"]), "received after the retry")


@clause(needs={Capability.REPLIES})
def the_last_result_of_a_chain_is_told(on: Stage) -> None:
    """Who enqueued a chain is told the results of its jobs, of the last one too."""
    first = job(keep=0.0)
    on.put(first, last := follower(first))
    listener, consumer = on.listener(last.id), on.consumer(of=on.another())
    settle(consumer, take(consumer), Done(b"\x01"))
    same(listener.wait(0.05), [], "told before its end")
    settle(consumer, take(consumer), Done(b"\x02"))
    same([(result.id, result.value) for result in listener.wait(limits.patient)], [(last.id, b"\x02")], "told")


@clause(needs={Capability.DEAD_JOBS})
def results_of_parents_come_with_every_attempt(on: Stage) -> None:
    """A job after another gets its result again after a retry, a release, a retry by an operator, and the end of its
    worker.
    """
    parent = job(keep=0.0)
    on.put(parent, child := follower(parent))
    consumer = on.consumer()
    settle(consumer, take(consumer), Done(b"\x07"))
    for outcome in (Retry(0.0, BOOM), Release(), Dead(BOOM)):
        lease = take(consumer)
        same(list(lease.inputs), [b"\x07"], f"inputs before {type(outcome).__name__}")
        settle(consumer, lease, outcome)
    on.broker.inspector.retry([child.id])
    same(list(take(consumer).inputs), [b"\x07"], "inputs after a revival")
    consumer.close()
    same(list(take(on.consumer()).inputs), [b"\x07"], "inputs after its worker has ended")


@clause
def a_follower_s_delay_counts_from_its_parents_end(on: Stage) -> None:
    """The delay of a job after another counts from its success."""
    parent = job()
    on.put(parent, child := follower(parent, delay=0.3))
    consumer = on.consumer()
    time.sleep(0.35)
    lease, began = take(consumer), time.monotonic()
    settle(consumer, lease)
    nothing(consumer, why="received before its delay")
    same(take(consumer).job.id, child.id, "received later")
    check(time.monotonic() - began >= 0.28, "the delay was too short")


@clause
def the_parents_success_wakes_a_waiting_receive(on: Stage) -> None:
    """A waiting consumer receives the job as soon as its last parent has succeeded."""
    parent = job()
    on.put(parent, child := follower(parent, queue="next"))
    consumer, next_one = on.consumer(), on.consumer("next", of=on.another())
    lease = take(consumer)
    receiving = meanwhile(lambda: timed(lambda: next_one.receive(1, wait=limits.wait)))
    time.sleep(0.1)
    settle(consumer, lease)
    settled = time.monotonic()
    received, at = receiving()
    same(ids(received), [child.id], "received by who waited")
    check(at - settled < limits.prompt, "who waited was not woken")
