"""Clauses about the life of leases and consumers."""

from __future__ import annotations

import time

from longboat.contract.broker import Consumer, Lease, Settlement
from longboat.contract.capabilities import Capability
from longboat.core.job import Done, State
from longboat.testing.conformance.clause import clause
from longboat.testing.conformance.stage import BOOM, Stage, check, ids, limits, nothing, same, settle, some, take, take_all

SHORT = 0.4


def _until_received(consumer: Consumer, within: float) -> list[Lease]:
    """Receive as a worker does: waiting, with a heartbeat between; fails when nothing comes in time."""
    end = time.monotonic() + within
    while True:
        if leases := consumer.receive(10, wait=0.2):
            return leases
        consumer.extend()
        check(time.monotonic() < end, f"a dead worker's jobs were not back within {within:g} s")


@clause
def a_job_runs_as_long_as_its_worker_lives(on: Stage) -> None:
    """With heartbeats a lease holds for many times its length: nobody else gets the job, and it settles."""
    on.put(*some(2))
    owner, other = on.consumer(lease=0.6), on.consumer(of=on.another())
    leases = take_all(owner, 2)
    end = time.monotonic() + 1.5
    while time.monotonic() < end:
        check(owner.extend().alive, "a consumer whose heart beats was declared lost")
        other.extend()
        nothing(other, wait=0.05)
    same(owner.settle([Settlement(lease, Done(b"")) for lease in leases]), [], "refused settlements")


@clause
def a_dead_workers_jobs_come_back(on: Stage) -> None:
    """Without heartbeats, a consumer's jobs are ready again after its lease: not before, and soon, on an idle queue too."""
    sent = some(2)
    on.put(*sent)
    dead, other = on.consumer(lease=SHORT), on.consumer(of=on.another())
    began = time.monotonic()
    dead.extend()
    take_all(dead, 2)
    leases = _until_received(other, SHORT + limits.sweep)
    check(time.monotonic() - began >= SHORT - 0.001, "a consumer's jobs came back before its lease was over")
    leases += take_all(other, 2 - len(leases)) if len(leases) < 2 else []
    same(ids(leases), ids(sent), "jobs that came back")


@clause
def a_lost_consumer_is_told(on: Stage) -> None:
    """Once its jobs came back, a consumer is over: `extend` says so, it receives nothing and settles nothing."""
    on.put(*some(2))
    lost, other = on.consumer(lease=SHORT), on.consumer()
    lease = lost.receive(1, wait=1.0)[0]
    settle(other, take(other))
    _until_received(other, SHORT + limits.sweep)
    check(not lost.extend().alive, "the heartbeat of a lost consumer says that it is alive")
    on.put(*some(1))
    began = time.monotonic()
    same(lost.receive(1, wait=limits.wait), [], "received by a lost consumer")
    check(time.monotonic() - began < limits.prompt, "the receive of a lost consumer waited")
    check(lost.settle([Settlement(lease, Done(b""))]) == [lease], "a lost consumer settled")
    check(not lost.extend().alive, "a lost consumer came alive again")


@clause(needs={Capability.DEATHS})
def a_closed_consumer_hands_back_at_once(on: Stage) -> None:
    """Closing hands back at once what the consumer holds, started or not; no attempt counts and `worker_deaths` does not
    change.
    """
    sent = some(2)
    on.put(*sent)
    consumer = on.consumer()
    leases = take_all(consumer, 2)
    consumer.settle([], started=leases[:1])
    consumer.close()
    consumer.close()
    back = on.consumer().receive(2, wait=0.0)
    same(ids(back), ids(sent), "jobs received after a close")
    same([(each.attempt, each.worker_deaths, each.failures) for each in back], [(1, 0, 0)] * 2, "attempt, returns, failures")
    check(consumer.settle([Settlement(leases[0], Done(b""))]) == leases[:1], "a closed consumer settled")


@clause(needs={Capability.EVICT})
def an_evicted_consumers_jobs_come_back_at_once(on: Stage) -> None:
    """`evict` hands back at once what a consumer holds and returns how many jobs; the consumer is over."""
    sent = some(3)
    on.put(*sent)
    consumer = on.consumer()
    take_all(consumer, 3)
    same(on.another().evict(consumer.id, BOOM), 3, "jobs that came back by an evict")
    same(ids(on.consumer().receive(3, wait=0.0)), ids(sent), "jobs received after an evict")
    check(not consumer.extend().alive, "an evicted consumer is told that it is alive")
    on.put(*some(1))
    nothing(consumer, why="an evicted consumer received")


@clause(needs={Capability.EVICT, Capability.LOOKUP})
def evict_is_idempotent(on: Stage) -> None:
    """A second evict, and the evict of an unknown or a closed consumer, change nothing and return 0."""
    on.put(*some(1))
    consumer = on.consumer()
    lease = take(consumer)
    consumer.settle([], started=[lease])
    on.broker.evict(consumer.id, BOOM)
    other = on.consumer()
    take(other)
    gone = on.consumer()
    gone.close()
    same([on.broker.evict(each, BOOM) for each in (consumer.id, "nobody", gone.id)], [0, 0, 0], "jobs evicted again")
    view = on.view(lease.job.id)
    same((view.state, view.attempts), (State.RUNNING, 1), "state and attempts")
