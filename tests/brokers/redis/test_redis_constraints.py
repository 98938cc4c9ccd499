"""Jobs that come after others, where there are very many of them, and pages of ready jobs that take turns."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from longboat.contract.broker import Broker, Consumer, Lease, Settlement
from longboat.core.clock import SYSTEM
from longboat.core.constraints import Constraints, JobLimit
from longboat.core.job import MESSAGE_VERSION, Done, Job, Release, State, new_id
from tests.rigs.harnesses import NewRedis, unavailable

RESULT = b"\xa4done"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    if reason := unavailable("redis"):
        pytest.skip(reason)
    made = NewRedis(tmp_path, SYSTEM).open()
    yield made
    made.close()


@pytest.fixture
def consumer(broker: Broker) -> Iterator[Consumer]:
    made = broker.consumer(["q"], lease=60.0)
    yield made
    made.close()


def job(constraints: Constraints | None = None, **fields: float) -> Job:
    return Job(MESSAGE_VERSION, new_id(), "t", b"\x80", "q", constraints=constraints, **fields)  # type: ignore[arg-type]  # the fields are of several types


def settle(consumer: Consumer, leases: list[Lease], outcome: Done | Release) -> None:
    assert consumer.settle([Settlement(lease, outcome) for lease in leases]) == []


def received(consumer: Consumer) -> list[str]:
    """All that is ready, one by one."""
    leases = []
    while more := consumer.receive(1, wait=0.0):
        leases += more
    return [lease.job.id for lease in leases]


@pytest.mark.parametrize("limit", [1, 7, 100])
def test_pages_go_in_the_order_that_is_received(limit: int, broker: Broker, consumer: Consumer) -> None:
    """Turns stand between packs of jobs without a key, several at one place, and some have come back."""
    for fairness_key in "aaab":
        broker.put([job() for _ in range(10)])
        broker.put([job(Constraints(fairness_key=fairness_key)) for _ in range(10)])
    broker.put([job(Constraints(fairness_key=f"{n}")) for n in range(20)])
    broker.put([job(Constraints(fairness_key="high"), priority=1) for _ in range(5)])
    settle(consumer, consumer.receive(20, wait=0.0), Release())
    pages: list[str] = []
    after: str | None = None
    while True:
        page = broker.inspector.jobs(State.READY, queue="q", limit=limit, after=after)
        pages += [view.id for view in page.jobs]
        after = page.after
        if after is None:
            break
    assert len(pages) == 105
    assert pages == received(consumer)


def test_turns_are_fair_to_a_key_that_was_idle(broker: Broker, consumer: Consumer) -> None:
    """One that has had nothing for a while does not pay for what came of it before."""
    for _ in range(3):
        early = [job(Constraints(fairness_key="early")) for _ in range(20)]
        broker.put(early)
        settle(consumer, consumer.receive(20, wait=0.0), Done(RESULT))
    broker.put([job(Constraints(fairness_key="many")) for _ in range(500)])
    again = job(Constraints(fairness_key="early"))
    broker.put([again])
    assert again.id in [lease.job.id for lease in consumer.receive(3, wait=0.0)]


def test_a_claim_passes_very_many_that_are_shut_out(broker: Broker, consumer: Consumer) -> None:
    """In several calls, none of which takes long; they come by and by, in their order."""
    one = Constraints(limits=[JobLimit("one", running=1)])
    limited = [job(one) for _ in range(1800)]
    free = job()
    broker.put(limited)
    broker.put([free])
    leases = consumer.receive(1, wait=0.0)
    assert [lease.job.id for lease in consumer.receive(1, wait=0.0)] == [free.id]
    assert broker.inspector.counts() == {("q", State.RUNNING): 2, ("q", State.WAITING): 1799}
    order = []
    for _ in range(50):
        order += [lease.job.id for lease in leases]
        settle(consumer, leases, Done(RESULT))
        leases = consumer.receive(5, wait=0.0)
    assert order == [each.id for each in limited[:50]]


@pytest.mark.parametrize("keep", [0.0, 60.0])
def test_very_many_after_one(keep: float, broker: Broker, consumer: Consumer) -> None:
    """They are let go a part at a time, each with the result, also when the parent is forgotten by then."""
    parent = job(keep=keep)
    broker.put([parent])
    children = [job(Constraints(after=[parent.id]), keep=0.0) for _ in range(4500)]
    for start in range(0, 4500, 500):
        broker.put(children[start : start + 500])
    settle(consumer, consumer.receive(1, wait=0.0), Done(RESULT))
    told: dict[str, bytes] = {}
    while leases := consumer.receive(500, wait=0.0):
        told |= {lease.job.id: bytes(lease.inputs[0]) for lease in leases}
        settle(consumer, leases, Done(RESULT))
    assert told == {each.id: RESULT for each in children}


def test_one_after_many_gets_all_results_in_order(broker: Broker, consumer: Consumer) -> None:
    """More than are asked for at once, beside one that has others."""
    parents = [job(keep=0.0) for _ in range(1500)]
    broker.put([*parents, job(Constraints(after=[each.id for each in parents])), job(Constraints(after=[parents[3].id]))])
    done: dict[str, bytes] = {}
    for _ in range(3):
        leases = consumer.receive(500, wait=0.0)
        done |= {lease.job.id: lease.job.id.encode() for lease in leases}
        assert consumer.settle([Settlement(lease, Done(done[lease.job.id])) for lease in leases]) == []
    first, second = consumer.receive(2, wait=0.0)
    assert list(first.inputs) == [done[each.id] for each in parents]
    assert list(second.inputs) == [done[parents[3].id]]
