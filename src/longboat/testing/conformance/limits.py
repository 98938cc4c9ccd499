"""Clauses about limits, fairness and pauses: what holds back jobs that are ready."""

from __future__ import annotations

import threading
import time
from functools import partial
from typing import Any

from msgspec.structs import replace

from longboat.contract.broker import Consumer, Lease, Settlement
from longboat.contract.capabilities import Capability
from longboat.contract.kv import Entry
from longboat.contract.limit_numbers import NAMESPACE, numbers
from longboat.core.constraints import LATER, Constraints, JobLimit
from longboat.core.job import Done, Failure, Job, Park, Release, Retry, State
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


def limited(*limits: JobLimit, **fields: Any) -> Job:
    return job(constraints=Constraints(limits=list(limits)), **fields)


ONE = JobLimit("one", running=1)
TWO = JobLimit("two", running=2)


@clause(needs={Capability.LIMITS, Capability.LOOKUP})
def a_limit_bounds_the_leases_of_its_key(on: Stage) -> None:
    """All consumers together never lease more jobs of one key than the limit says."""
    sent = [limited(TWO) for _ in range(5)]
    on.put(*sent)
    first, second = on.consumer(), on.consumer(of=on.another())
    leases = first.receive(10, wait=0.0)
    same(ids(leases), ids(sent[:2]), "leased at first")
    nothing(second, why="leased beyond the limit")
    same(on.state(sent[0].id), State.RUNNING, "the state of one let in")


@clause(needs={Capability.LIMITS, Capability.PRIORITY, Capability.PARKING})
def a_lease_s_end_unblocks_the_next(on: Stage) -> None:
    """When a lease ends, whatever its outcome, the next job of its key is received, in the queue's order."""
    sent = [limited(ONE), limited(ONE), limited(ONE, priority=5), limited(ONE, priority=-5)]
    on.put(sent[0])
    consumer = on.consumer()
    lease = take(consumer)
    on.put(*sent[1:])
    nothing(consumer)
    order = [lease.job.id]
    for outcome in (Done(b"\xc0"), Retry(60.0, BOOM), Park(60.0, Failure("x", "x"))):
        settle(consumer, lease, outcome)
        lease = take(consumer)
        order.append(lease.job.id)
        nothing(consumer, why="leased beyond the limit")
    same(order, ids([sent[0], sent[2], sent[1], sent[3]]), "the order received")


@clause(needs={Capability.LIMITS})
def a_lease_s_end_wakes_a_waiting_receive(on: Stage) -> None:
    """A waiting consumer receives a blocked job as soon as another lease of its key has ended."""
    on.put(limited(ONE), waiting := limited(ONE, queue="other"))
    consumer, other = on.consumer(), on.consumer("other", of=on.another())
    lease = take(consumer)
    nothing(other)
    receiving = meanwhile(lambda: timed(lambda: other.receive(1, wait=limits.wait)))
    time.sleep(0.1)
    settle(consumer, lease)
    settled = time.monotonic()
    received, at = receiving()
    same(ids(received), [waiting.id], "received by who waited")
    check(at - settled < limits.prompt, "who waited was not woken")


@clause(needs={Capability.LIMITS})
def a_limit_holds_up_no_other_key(on: Stage) -> None:
    """Jobs of other keys, and of none, are received although jobs before them are blocked."""
    on.put(*[limited(ONE) for _ in range(50)])
    on.put(other := limited(JobLimit("other", running=1)), free := job())
    consumer = on.consumer()
    leases = take_all(consumer, 3)
    same(ids(leases)[1:], ids([other, free]), "received beside it")
    nothing(consumer)


@clause(needs={Capability.LIMITS, Capability.LOOKUP})
def a_job_handed_back_with_limits_has_these(on: Stage) -> None:
    """From the moment when a job is handed back with limits, they hold for it, and those that it had before do not."""
    on.put(limited(ONE), late := limited(LATER, TWO))
    consumer = on.consumer()
    held, again = take_all(consumer, 2)
    settle(consumer, again, Release(limits=[ONE]))
    nothing(consumer, why="leased beyond the limit that it was handed back with")
    same(on.view(late.id).constraints, Constraints(limits=[ONE]), "the limits shown")
    on.put(*[limited(TWO) for _ in range(2)])
    same(len(two := take_all(consumer, 2)), 2, "leased beside a lease that has ended")
    settle(consumer, held)
    lease = take(consumer)
    same(
        (lease.job, lease.attempt), (replace(late, constraints=Constraints(limits=[ONE])), 1), "received once there is room"
    )
    on.put(last := limited(ONE))
    nothing(consumer, why="leased though the one handed back counts")
    for each in (lease, *two):
        settle(consumer, each)
    same(take(consumer).job.id, last.id, "received at last")


@clause(needs={Capability.LIMITS})
def a_job_of_several_limits_needs_them_all(on: Stage) -> None:
    """A job with several limits is leased only while all of them have room, and counts for each."""
    on.put(limited(ONE), both := limited(TWO, ONE), limited(TWO))
    consumer = on.consumer()
    first, third = take_all(consumer, 2)
    nothing(consumer, why="leased though one of its gates is shut")
    settle(consumer, first)
    lease = take(consumer)
    same(lease.job.id, both.id, "received when both are open")
    on.put(limited(ONE), limited(TWO))
    nothing(consumer, why="leased though it counts for both")
    settle(consumer, third)
    settle(consumer, lease)
    same(len(take_all(consumer, 2)), 2, "leased at last")


@clause(needs={Capability.LIMITS, Capability.EVICT})
def a_limit_s_leases_come_back_with_their_worker(on: Stage) -> None:
    """Leases of a consumer that was closed, evicted or lost no longer count."""
    on.put(*[limited(ONE) for _ in range(2)])
    closed, evicted = on.consumer(), on.consumer()
    first = take(closed).job.id
    nothing(evicted)
    closed.close()
    same(take(evicted).job.id, first, "received after a close")
    dying = on.consumer(lease=0.5, of=on.another())
    on.broker.evict(evicted.id, BOOM)
    same(take(dying).job.id, first, "received after an eviction")
    living = on.consumer()
    began = time.monotonic()
    eventually(lambda: bool(living.extend()) and bool(living.receive(1, wait=0.0)), "received after a lease's end")
    check(time.monotonic() - began < 0.5 + limits.sweep, "a dead worker's lease counted for too long")


@clause(needs={Capability.LIMITS})
def a_rate_limit_unblocks_with_time(on: Stage) -> None:
    """In any `per` seconds at most `starts` jobs of one key are leased; the next ones follow promptly after that."""
    limit = JobLimit("rate", starts=2, per=0.5)
    on.put(*[limited(limit) for _ in range(5)])
    consumer = on.consumer()
    starts = []
    for _ in range(5):
        lease = take(consumer)
        starts.append(time.monotonic())
        settle(consumer, lease)
    check(starts[1] - starts[0] < 0.4, "the first two did not start together")
    same([each for each in range(3) if starts[each + 2] - starts[each] < 0.4], [], f"too many in 0.5 s: {starts}")
    check(starts[4] - starts[0] < 1.0 + limits.sweep, "they did not come as soon as the time allowed")


@clause(needs={Capability.LIMITS, Capability.LOOKUP, Capability.CANCEL, Capability.EXPIRY, Capability.PURGE})
def a_blocked_job_can_be_cancelled(on: Stage) -> None:
    """A blocked job waits, can be cancelled and purged, and expires; others of its key follow later."""
    sent = [limited(ONE) for _ in range(2)]
    on.put(*sent, expiring := limited(ONE, expires=0.2), last := limited(ONE), late := limited(ONE))
    consumer = on.consumer()
    lease = take(consumer)
    nothing(consumer)
    same(on.state(sent[1].id), State.WAITING, "the state of one blocked")
    same(on.broker.inspector.cancel([sent[1].id]), [sent[1].id], "cancelled")
    eventually(lambda: bool(consumer.extend()) and on.state(expiring.id) is State.CANCELLED, "one blocked expires")
    settle(consumer, lease)
    lease = take(consumer)
    same(lease.job.id, last.id, "received then")
    nothing(consumer)
    same(on.broker.inspector.purge([State.WAITING]), 1, "purged")
    same(on.broker.inspector.find([late.id]), [None], "the purged one")


@clause(needs={Capability.LIMITS, Capability.CANCEL})
def room_that_nobody_took_is_given_to_the_next(on: Stage) -> None:
    """When an unblocked job goes away without having been leased, another of its key comes within 2 s."""
    first, second, third = limited(ONE), limited(ONE), limited(ONE)
    on.put(first, second, third)
    consumer = on.consumer()
    lease = take(consumer)
    nothing(consumer)
    settle(consumer, lease)
    on.broker.inspector.cancel([second.id])
    found: list[Lease] = []

    def come() -> bool:
        consumer.extend()
        found.extend(consumer.receive(1, wait=0.05))
        return bool(found)

    eventually(come, "the next one is received", within=limits.patient)
    same(found[0].job.id, third.id, "received then")


@clause(needs={Capability.LIMITS})
def a_job_goes_by_its_own_limits(on: Stage) -> None:
    """A job whose own limit allows more of its key is leased while a job that allows fewer waits."""
    on.put(*[limited(ONE) for _ in range(3)])
    consumer = on.consumer()
    lease = take(consumer)
    nothing(consumer)
    on.put(wider := limited(JobLimit("one", running=2)))
    other = take(consumer)
    same(other.job.id, wider.id, "leased by a wider limit")
    settle(consumer, lease)
    nothing(consumer, why="leased though another of the key is")
    settle(consumer, other)
    take(consumer)
    nothing(consumer, why="leased beyond the limit")


@clause(needs={Capability.LIMITS, Capability.KV})
def a_limit_goes_by_its_present_numbers(on: Stage) -> None:
    """Where an entry names a limit, its numbers hold in place of those in the jobs: blocked ones follow within 2 s."""
    named = JobLimit("k", running=1, name="n")
    on.put(*[limited(named) for _ in range(12)])
    consumer = on.consumer()
    held = [take(consumer)]

    def tell(value: bytes | None) -> None:
        on.another().kv.write(NAMESPACE, [Entry("n", value, keep=60.0)])

    def come(n: int, why: str) -> None:
        """So many are received, also while nothing else happens."""
        end = time.monotonic() + limits.patient
        before = len(held)
        while len(held) < before + n and time.monotonic() < end:
            consumer.extend()
            held.extend(consumer.receive(n, wait=0.05))
        same(len(held) - before, n, why)
        nothing(consumer, why=f"more than that, {why}")

    nothing(consumer, why="leased beyond the number in the job")
    tell(numbers(running=3))
    come(2, "received once the limit was raised")
    tell(numbers(running=1))
    for _ in range(2):
        settle(consumer, held.pop())
        nothing(consumer, why="leased beyond the limit that was lowered")
    settle(consumer, held.pop())
    come(1, "received by the lower limit")
    tell(numbers(starts=2, per=60.0))
    settle(consumer, held.pop())
    come(2, "received by a rate in place of a number")
    tell(numbers(starts=3, per=60.0))
    come(1, "received once the rate was raised")
    tell(numbers(running=4, starts=4, per=60.0))
    come(1, "received when both were given")
    tell(b"\xff what is this?")
    while held:
        settle(consumer, held.pop())
    come(1, "received by the number in the job, as the entry cannot be read")
    tell(numbers())
    come(3, "received once nothing limits them")


@clause(needs={Capability.LIMITS})
def limits_hold_under_many_consumers(on: Stage) -> None:
    """Six consumers at once never exceed the limit of a key, and every job ends."""
    keys = [JobLimit(f"k{n}", running=n + 1) for n in range(3)]
    on.put(*[limited(keys[n % 3]) for n in range(90)])
    held, most = [0, 0, 0], [0, 0, 0]
    ended: list[int] = []
    lock = threading.Lock()

    def work(consumer: Consumer) -> None:
        idle = time.monotonic()
        while sum(ended) < 90 and time.monotonic() - idle < limits.patient:
            leases = consumer.receive(4, wait=0.05)
            if not leases:
                continue
            places = [int((lease.job.constraints or Constraints()).limits[0].key[1]) for lease in leases]
            with lock:
                for place in places:
                    held[place] += 1
                    most[place] = max(most[place], held[place])
            time.sleep(0.002)
            with lock:
                for place in places:
                    held[place] -= 1
            consumer.settle([Settlement(lease, Done(b"\xc0")) for lease in leases])
            ended.append(len(leases))
            idle = time.monotonic()

    for join in [meanwhile(partial(work, on.consumer(of=on.another()))) for _ in range(6)]:
        join()
    same(sum(ended), 90, "jobs ended")
    check(all(most[n] <= n + 1 for n in range(3)), f"held at most {most}, allowed [1, 2, 3]")


@clause(needs={Capability.LIMITS})
def a_limit_can_be_looked_at(on: Stage) -> None:
    """The view of a key tells who holds it and how many wait; it is None when nobody does."""
    sent = [limited(ONE) for _ in range(3)]
    on.put(*sent)
    look = on.another().inspector.limits
    consumer = on.consumer()
    same(look(["one", "no"]), [None, None], "before")
    lease = take(consumer)
    nothing(consumer)
    view = look(["one"])[0]
    same(view and (view.key, view.running, view.holders, view.waiting), ("one", 1, [sent[0].id], 2), "the view")
    on.put(limited(rate := JobLimit("rate", starts=1, per=60.0)), limited(rate))
    take(consumer)
    nothing(consumer)
    view = look(["rate"])[0]
    check(view is not None and view.started == 1 and view.waiting == 1, f"the view of a limit of starts: {view}")
    check(view is not None and 50 < (view.opens or 0) - time.time() < 70, f"when it opens: {view}")
    settle(consumer, lease, Release(60.0))
    while lease_ := consumer.receive(1, wait=0.1):
        settle(consumer, lease_[0])
    eventually(lambda: look(["one"]) == [None], "nothing is left of a limit that nobody holds")


@clause(needs={Capability.FAIRNESS})
def fairness_keys_alternate(on: Stage) -> None:
    """However many jobs of one fairness key wait, a job of another key put after them is received after at most two of
    each.
    """
    tenant_a = [job(constraints=Constraints(fairness_key="a")) for _ in range(30)]
    on.put(*tenant_a[:20])
    consumer = on.consumer()
    same(ids(take_all(consumer, 5)), ids(tenant_a[:5]), "the first of one key alone")
    on.put(*tenant_a[20:])
    tenant_b = [job(constraints=Constraints(fairness_key="b")) for _ in range(3)]
    on.put(*tenant_b, c := job(constraints=Constraints(fairness_key="c")))
    received = ids(take_all(consumer, 12))
    places = [received.index(each.id) for each in (*tenant_b, c) if each.id in received]
    same(len(places), 4, f"of the other keys received among twelve: {received}")
    check(places[0] <= 3 and places[1] <= 6 and places[3] <= 4, f"the others' places: {places}")
    same([each for each in received if each in ids(tenant_a)], ids(tenant_a[5:13]), "those of the first key, in order")


@clause(needs={Capability.FAIRNESS, Capability.PRIORITY})
def fairness_holds_within_a_priority(on: Stage) -> None:
    """A higher priority comes first whatever the fairness keys are, and jobs without a key come too."""
    on.put(
        *[job(constraints=Constraints(fairness_key="a")) for _ in range(4)],
        plain := job(),
        high := job(constraints=Constraints(fairness_key="a"), priority=1),
    )
    received = ids(take_all(on.consumer(), 6))
    same(received[0], high.id, "received first")
    check(plain.id in received, "the one without a key was not received")


@clause(needs={Capability.PAUSE, Capability.EVERY_QUEUE})
def a_paused_queue_gives_nothing(on: Stage) -> None:
    """A consumer that was told to pause queues receives nothing from them, named or not, until told otherwise."""
    on.put(paused := job(), other := job(queue="other"))
    named, every = on.consumer("q", "other"), on.consumer(every=True, of=on.another())
    for consumer in (named, every):
        consumer.pause(["q"], [])
        lease = take(consumer)
        same(lease.job.id, other.id, "received while the queue is paused")
        nothing(consumer, why="received of a paused queue")
        settle(consumer, lease, Release())
    receiving = meanwhile(lambda: timed(lambda: take_all(named, 2)))
    time.sleep(0.1)
    named.pause([], [])
    resumed = time.monotonic()
    leases, at = receiving()
    same(sorted(ids(leases)), sorted([paused.id, other.id]), "received after that")
    check(at - resumed < limits.prompt, "who waited was not woken by the end of the pause")


@clause(needs={Capability.PAUSE, Capability.PARKING})
def parked_jobs_of_a_paused_task_stay(on: Stage) -> None:
    """A consumer that was told to pause a task receives no parked jobs of it until told otherwise."""
    on.put(sent := job(task="paused"))
    consumer = on.consumer(tasks=["paused", "other"])
    consumer.pause([], ["paused"])
    settle(consumer, take(consumer), Park(60.0, Failure("longboat.Paused", "paused")))
    nothing(consumer, why="received though its task is paused")
    on.put(*some(1, task="other"))
    same(take(consumer).job.task, "other", "received meanwhile")
    consumer.pause([], [])
    same(take(consumer).job.id, sent.id, "received after that")
