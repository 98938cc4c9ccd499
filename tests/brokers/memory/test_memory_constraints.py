"""What the memory broker forgets, and when it looks again: what no clause of the contract can see."""

from __future__ import annotations

from typing import Any

import pytest

from longboat.brokers.memory import MemoryBroker
from longboat.brokers.memory import constraints as table
from longboat.brokers.memory.usage import LimitUsage
from longboat.contract.broker import Consumer, Settlement
from longboat.contract.kv import Entry
from longboat.core.constraints import Constraints, JobLimit
from longboat.core.job import MESSAGE_VERSION, Done, Failure, Job, Outcome, Park, State, new_id
from longboat.testing.clock import FakeClock

RATE = JobLimit("rate", starts=2, per=30.0)
ONE = JobLimit("one", running=1)
BOOM = Failure("Boom", "boom")


def job(*limits: JobLimit, **fields: Any) -> Job:
    fields = {"constraints": Constraints(limits=list(limits)), "queue": "q", **fields}
    return Job(MESSAGE_VERSION, new_id(), "t", b"\x80", **fields)


class Rig:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.broker = MemoryBroker(clock=self.clock)
        self.store = self.broker._store
        self.consumer: Consumer = self.broker.consumer(["q"], lease=1e6, tasks=["t"])

    def put(self, *jobs: Job) -> tuple[Job, ...]:
        self.broker.put(jobs)
        return jobs

    def work(self, n: int = 1, outcome: Outcome | None = None) -> list[str]:
        """Receive so many and settle them; their ids."""
        leases = self.consumer.receive(n, wait=0.0)
        assert self.consumer.settle([Settlement(lease, outcome or Done(b"r")) for lease in leases]) == []
        return [lease.job.id for lease in leases]

    def alarms(self) -> list[float]:
        """When limits are looked at again, in seconds from now."""
        return [key[0] - self.clock.now() for key in self.store.alarms.above(()) if isinstance(key[2], LimitUsage)]


@pytest.fixture
def rig() -> Rig:
    return Rig()


# --- limits


def test_a_limit_that_time_shuts_has_one_alarm_however_many_wait(rig: Rig) -> None:
    sent = rig.put(*[job(RATE) for _ in range(50)])
    assert rig.work(50) == [each.id for each in sent[:2]]
    assert rig.alarms() == pytest.approx([30.0])
    assert rig.broker.inspector.counts()["q", State.WAITING] == 48


def test_its_alarm_lets_in_as_many_as_there_is_room_for(rig: Rig) -> None:
    sent = rig.put(*[job(RATE) for _ in range(5)])
    assert len(rig.work(1)) == 1
    rig.clock.advance(10.0)
    assert len(rig.work(5)) == 1
    rig.clock.advance(20.1)
    assert rig.work(5) == [sent[2].id]
    assert rig.alarms() == pytest.approx([9.9])
    rig.clock.advance(9.8)
    assert rig.work(5) == []
    rig.clock.advance(0.2)
    assert rig.work(5) == [sent[3].id]


def test_a_limit_of_both_kinds_has_no_alarm_while_others_hold_it(rig: Rig) -> None:
    both = JobLimit("both", running=1, starts=1, per=30.0)
    first, second = rig.put(job(both), job(both))
    (lease,) = rig.consumer.receive(2, wait=0.0)
    assert rig.alarms() == []
    rig.clock.advance(20.0)
    rig.consumer.settle([Settlement(lease, Done(b""))])
    assert rig.alarms() == pytest.approx([10.0])
    rig.clock.advance(10.1)
    assert (lease.job.id, rig.work(2)) == (first.id, [second.id])


def test_what_started_long_ago_is_forgotten(rig: Rig) -> None:
    rig.put(job(RATE), job(ONE))
    rig.work(2)
    assert list(rig.store.constraints.usages) == ["rate"]
    rig.clock.advance(30.1)
    rig.broker.tidy(1.0)
    assert rig.store.constraints.usages == {}


def test_nothing_is_kept_of_blocked_jobs_when_the_last_has_left(rig: Rig) -> None:
    rig.put(job(ONE))
    (lease,) = rig.consumer.receive(1, wait=0.0)
    waiting = rig.put(job(ONE), job(ONE, expires=5.0), job(ONE))
    assert rig.work(3) == []
    rig.broker.inspector.cancel([waiting[0].id])
    rig.clock.advance(5.1)
    assert rig.broker.inspector.purge([State.WAITING]) == 1
    assert rig.store.constraints.usages["one"].blocked == {}
    rig.consumer.settle([Settlement(lease, Done(b""))])
    assert rig.store.constraints.usages == {}


def test_room_that_is_left_is_given_on_at_once(rig: Rig) -> None:
    rig.put(job(ONE))
    (lease,) = rig.consumer.receive(1, wait=0.0)
    second, third = rig.put(job(ONE), job(ONE))
    assert rig.work(2) == []
    rig.consumer.settle([Settlement(lease, Done(b""))])
    rig.broker.inspector.cancel([second.id])
    assert rig.broker.inspector.counts()["q", State.READY] == 1
    assert rig.work() == [third.id]


def test_tidying_unblocks_the_next_when_another_limit_blocks_the_first(rig: Rig) -> None:
    """The first job was unblocked, and is blocked by its other limit: its room goes to the next one."""
    other = JobLimit("other", running=1)
    rig.put(job(ONE), job(other))
    one, held = rig.consumer.receive(2, wait=0.0)
    both, next_one = rig.put(job(ONE, other), job(ONE))
    assert rig.work(2) == []
    rig.consumer.settle([Settlement(one, Done(b""))])
    assert rig.work(2) == []
    rig.broker.tidy(1.0)
    assert rig.work(2) == [next_one.id]
    rig.consumer.settle([Settlement(held, Done(b""))])
    assert rig.work(2) == [both.id]
    assert rig.store.constraints.usages == {}


# --- parents, fairness keys, parked jobs, entries


def test_a_job_that_waits_no_more_is_not_remembered_as_a_follower(rig: Rig) -> None:
    parents = rig.put(*[job() for _ in range(2)])
    constraints = Constraints(after=[parent.id for parent in parents])
    rig.put(
        cancelled := job(constraints=constraints),
        job(constraints=constraints, expires=5.0),
        job(constraints=constraints),
        last := job(constraints=constraints),
    )
    rig.broker.inspector.cancel([cancelled.id])
    rig.clock.advance(5.1)
    rig.work(1)
    followers = rig.store.constraints._followers
    assert {parent: len(each) for parent, each in followers.items()} == {parents[1].id: 2}
    rig.work(1)
    assert followers == {}
    assert rig.work(2)[1] == last.id


def test_fairness_keys_are_forgotten_when_there_are_many(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "FAIRNESS_KEYS_KEPT", 3)
    sent = rig.put(*[job(constraints=Constraints(fairness_key=key)) for key in "aaabbc"])
    rig.broker.tidy(1.0)
    assert len(rig.store.constraints._last) == 3
    (more,) = rig.put(job(constraints=Constraints(fairness_key="d")))
    rig.broker.tidy(1.0)
    assert rig.store.constraints._last == {}
    last = rig.put(job(constraints=Constraints(fairness_key="a")))
    received = rig.work(10)
    assert set(received) == {each.id for each in (*sent, more, *last)}
    assert [each for each in received if each in {sent[n].id for n in (0, 1, 2)}] == [each.id for each in sent[:3]]


@pytest.mark.parametrize("end", ["patience", "cancel", "purge", "expiry"])
def test_a_parked_job_that_has_ended_is_received_no_more(rig: Rig, end: str) -> None:
    (sent,) = rig.put(job(expires=50.0 if end == "expiry" else None))
    rig.work(1, Park(100.0, BOOM))
    if end == "cancel":
        rig.broker.inspector.cancel([sent.id])
    elif end == "purge":
        rig.broker.inspector.purge([State.WAITING])
    else:
        rig.clock.advance(60.0 if end == "expiry" else 101.0)
    assert rig.work(1) == []
    assert rig.store.parked == {}


def test_notes_whose_time_is_over_take_no_room(rig: Rig) -> None:
    kv: Any = rig.broker.kv
    kv.write("s", [Entry("short", b"1", 5.0), Entry("long", b"1", 50.0)])
    kv.write("t", [Entry("short", b"1", 5.0)])
    rig.clock.advance(5.1)
    rig.broker.tidy(1.0)
    assert {namespace: list(entries) for namespace, entries in kv._values.items()} == {"s": ["long"]}
    assert kv._keys == {"s": ["long"]}
