"""Clauses about receiving: when, how many, how long a call waits."""

from __future__ import annotations

import time

from longboat.contract.broker import Consumer, Settlement
from longboat.contract.capabilities import Capability
from longboat.core.bounds import LONGEST
from longboat.core.job import Done, Release, Retry, State
from longboat.core.reasons import EXPIRED
from longboat.testing.conformance.clause import clause
from longboat.testing.conformance.stage import (
    BOOM,
    Stage,
    best,
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

MONTH = 32 * 24 * 3600.0
"""Seconds."""


@clause
def never_before_its_time(on: Stage) -> None:
    """Nobody receives a job before its delay is over."""
    began = time.monotonic()
    on.put(job(delay=0.3))
    consumer = on.consumer()
    take(consumer)
    check(time.monotonic() - began >= 0.299, "a job was received before its delay was over")


@clause
def within_100_ms_of_its_time(on: Stage) -> None:
    """A receive that waits returns within 100 ms of a delay's end."""
    consumer = on.consumer()

    def lateness() -> float:
        on.put(job(delay=0.15))
        due = time.monotonic() + 0.15
        take(consumer)
        return time.monotonic() - due

    best(4, lateness, 0.1, "from a delay's end to its receive")


@clause(needs={Capability.LONG_DELAYS})
def a_delay_may_be_of_any_length(on: Stage) -> None:
    """A job may be put, tried again or handed back with any delay a job can hold. It is due then, and holds up no other."""
    consumer, tried, handed_back = on.consumer(), job(), job()
    for sent, outcome in ((tried, Retry(LONGEST, BOOM)), (handed_back, Release(LONGEST))):
        on.put(sent)
        settle(consumer, take(consumer), outcome)
    far = [job(delay=delay) for delay in (MONTH, 2**31 / 1000, 2**32 / 1000, 2.0**31, 2.0**32, LONGEST)]
    now = time.time()
    on.put(*far)
    told = [(tried, LONGEST), (handed_back, LONGEST), *((sent, sent.delay) for sent in far)]
    for sent, delay in told if Capability.LOOKUP in on.broker.capabilities else ():
        due = on.view(sent.id).due or now
        check(abs(due - now - delay) < limits.churn, f"a job delayed by {delay:.0f} s is due in {due - now:.0f} s")
    soon = job(delay=0.05)
    on.put(soon)
    same(take(consumer).job.id, soon.id, "the job received, of one due in 0.05 s and others due in a month or later")
    nothing(consumer)


@clause(needs={Capability.WAKE})
def a_put_wakes_a_waiting_receive(on: Stage) -> None:
    """A receive that waits returns within 5 ms of the return of a put, by another client too."""
    consumer = on.consumer(of=on.another())

    def lateness() -> float:
        receiving = meanwhile(lambda: timed(lambda: take(consumer)))
        time.sleep(0.03)
        on.put(job())
        put = time.monotonic()
        return receiving()[1] - put

    best(20, lateness, 0.005, "from a put to a waiting receive")


@clause(needs={Capability.WAKE})
def consumers_that_wait_share(on: Stage) -> None:
    """Jobs put together are shared by the consumers that wait for them, however many each of these asks for."""
    consumers = [on.consumer(of=on.another()) for _ in range(3)]
    parts: list[list[int]] = []
    for _ in range(8):
        receiving = [meanwhile(lambda each=each: _all_within(each, 0.4)) for each in consumers]  # type: ignore[misc]  # mypy cannot type a default of a lambda
        time.sleep(0.1)
        on.put(*some(30))
        parts.append([join() for join in receiving])
        same(sum(parts[-1]), 30, "jobs received by all")
        if max(parts[-1]) <= 20:
            return
    check(False, f"of 30 jobs three consumers that waited got {parts}, at best")


def _all_within(consumer: Consumer, seconds: float) -> int:
    """How many jobs it receives and settles in this time."""
    end, count = time.monotonic() + seconds, 0
    while (left := end - time.monotonic()) > 0:
        leases = consumer.receive(100, wait=left)
        count += len(leases)
        consumer.settle([Settlement(lease, Done(b"")) for lease in leases])
    return count


@clause
def receive_waits_as_long_as_it_is_told(on: Stage) -> None:
    """With nothing to receive, it returns [] when `wait` is over and not before; without a wait it returns at once."""
    consumer = on.consumer()
    for wait in (0.0, 0.3):
        began = time.monotonic()
        same(consumer.receive(5, wait=wait), [], "received from an empty queue")
        took = time.monotonic() - began
        check(wait - 0.001 <= took < wait + limits.prompt, f"a receive with wait={wait} returned after {took:.3f} s")


@clause(needs={Capability.WAKE})
def waiting_costs_no_cpu(on: Stage) -> None:
    """A waiting receive does not poll and costs next to no CPU time."""
    consumer = on.consumer()
    consumer.receive(1, wait=0.01)
    began = time.process_time()
    same(consumer.receive(1, wait=0.5), [], "received from an empty queue")
    took = time.process_time() - began
    check(took < 0.1, f"half a second of waiting cost {took:.3f} s of CPU time")


@clause
def receive_returns_at_once_with_what_there_is(on: Stage) -> None:
    """It does not wait for `n` jobs when there is at least one."""
    on.put(*some(2))
    began = time.monotonic()
    same(len(on.consumer().receive(50, wait=limits.wait)), 2, "jobs received")
    check(time.monotonic() - began < limits.prompt, "a receive waited although there were jobs")


@clause
def receive_gives_no_more_than_asked_for(on: Stage) -> None:
    """It leases at most `n` jobs and leaves the others to the next caller."""
    on.put(*some(10))
    consumer = on.consumer()
    same(len(consumer.receive(1, wait=0.0)), 1, "jobs received of 10 when 1 was asked for")
    same(len(consumer.receive(3, wait=0.0)), 3, "jobs received of 9 when 3 were asked for")
    same(len(take_all(on.consumer(), 6)), 6, "jobs received by another")


@clause
def receive_loses_none_of_many(on: Stage) -> None:
    """Consumers receive a large queue completely, each job once, whatever the batch sizes."""
    jobs = some(700)
    on.put(*jobs)
    consumer = on.consumer()
    received: list[str] = []
    for n in (1, 2, 3, 5, 8, 13, 300, 1000):
        received += ids(consumer.receive(n, wait=0.0))
    same(received == ids(jobs), True, "all of 700 jobs were received once and in order")


@clause
def a_job_is_leased_to_one_at_a_time(on: Stage) -> None:
    """Nobody else receives a leased job, however many consumers ask."""
    sent = some(6)
    on.put(*sent)
    first, second = on.consumer(), on.consumer(of=on.another())
    leases = first.receive(2, wait=1.0) + second.receive(2, wait=1.0) + first.receive(9, wait=1.0)
    same(sorted(ids(leases)), sorted(ids(sent)), "jobs leased")
    nothing(second)
    nothing(first)


@clause
def wake_ends_a_waiting_receive(on: Stage) -> None:
    """`wake`, from any thread, makes the receive that waits return promptly."""
    consumer = on.consumer()
    began = time.monotonic()
    receiving = meanwhile(lambda: consumer.receive(1, wait=limits.wait))
    time.sleep(0.05)
    consumer.wake()
    same(receiving(), [], "received by who was woken")
    check(time.monotonic() - began < limits.prompt, "a receive went on waiting after wake")


@clause
def wake_holds_for_the_next_receive(on: Stage) -> None:
    """A `wake` while nobody waits makes the next receive return promptly, and only that one."""
    consumer = on.consumer()
    consumer.wake()
    began = time.monotonic()
    same(consumer.receive(1, wait=limits.wait), [], "received after a wake")
    woken = time.monotonic()
    check(woken - began < limits.prompt, "the receive after a wake waited")
    same(consumer.receive(1, wait=0.3), [], "received then")
    check(time.monotonic() - woken >= 0.299, "a second receive returned early after one wake")


@clause
def a_closed_consumer_receives_nothing(on: Stage) -> None:
    """A closed consumer receives [], and closing ends a receive that waits."""
    consumer = on.consumer()
    began = time.monotonic()
    receiving = meanwhile(lambda: consumer.receive(1, wait=limits.wait))
    time.sleep(0.05)
    consumer.close()
    same(receiving(), [], "received while it was closed")
    on.put(job())
    same(consumer.receive(1, wait=limits.wait), [], "received by a closed consumer")
    check(time.monotonic() - began < limits.prompt, "the receive of a closed consumer waited")


@clause
def consumers_have_ids_of_their_own(on: Stage) -> None:
    """A consumer's id is never used again."""
    names = []
    for broker in [on.broker, on.another()] * 3:
        consumer = on.consumer(of=broker)
        names.append(consumer.id)
        consumer.close()
    same(len(set(names)), 6, "different ids of six consumers")


@clause(needs={Capability.EXPIRY, Capability.LOOKUP})
def an_expired_job_is_cancelled(on: Stage) -> None:
    """A job that has not started when its expiry comes is never received; it is cancelled, with a Failure that says so."""
    ready, scheduled = job(expires=0.1), job(expires=0.15, delay=0.1)
    on.put(ready, scheduled)
    time.sleep(0.2)
    consumer = on.consumer()
    nothing(consumer)
    for each in (ready, scheduled):
        eventually(
            lambda each=each: bool(consumer.extend()) and on.state(each.id) is State.CANCELLED,  # type: ignore[misc]  # mypy cannot type a default of a lambda
            "an expired job is cancelled",
        )
        same([failure.type for failure in on.view(each.id).failures], [EXPIRED], "its failures")


@clause(needs={Capability.EXPIRY})
def what_has_started_does_not_expire(on: Stage) -> None:
    """Expiry is for jobs that have not started: one that was tried in time is tried again after it."""
    sent = job(expires=0.8)
    on.put(sent)
    consumer = on.consumer()
    lease = take(consumer)
    time.sleep(0.9)
    settle(consumer, lease, Retry(0.0, BOOM))
    same(take(consumer).job.id, sent.id, "received after its expiry, having started before")


@clause(needs={Capability.EXPIRY, Capability.LOOKUP})
def what_comes_back_unstarted_expires(on: Stage) -> None:
    """A job that was leased in time but never started is cancelled when it comes back after its expiry."""
    sent = job(expires=0.8)
    on.put(sent)
    consumer = on.consumer()
    take(consumer)
    time.sleep(0.9)
    consumer.close()
    other = on.consumer()
    nothing(other)
    eventually(lambda: bool(other.extend()) and on.state(sent.id) is State.CANCELLED, "it is cancelled")
