"""One line on why a job is not running, for each reason there is."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from longboat.brokers.memory import MemoryBroker
from longboat.contract.broker import Broker
from longboat.core.constraints import Constraints, JobLimit
from longboat.core.job import Dead, Failure, Job, Retry
from longboat.operate.explain import COUNTED, explain
from longboat.operate.pauses import pause
from longboat.testing.conformance.stage import job, nothing, settle, take

BOOM = Failure("builtins.ValueError", "it went boom")


@pytest.fixture
def broker() -> Iterator[Broker]:
    made = MemoryBroker()
    yield made
    made.close()


def why(broker: Broker, of: Job) -> str:
    said = explain(broker, of.id)
    assert said is not None
    assert "\n" not in said
    return said


def test_each_state(broker: Broker) -> None:
    later, first, second = job(delay=3600.0), job(), job()
    broker.put([later, first, second])
    assert "no living worker serves queue q" in why(broker, first)
    consumer = broker.consumer(["q"], lease=60, name="w1")
    assert why(broker, first) == "it is ready, and next in its queue"
    assert why(broker, second) == "it is ready, behind 1 job in queue q"
    assert why(broker, later).startswith("it is scheduled to run in 60 m")
    lease = take(consumer)
    assert why(broker, first).startswith("it is running on w1 for ")
    settle(consumer, lease, Retry(600.0, BOOM))
    assert "after attempt 1 failed (builtins.ValueError)" in why(broker, first)
    settle(consumer, take(consumer), Dead(BOOM))
    assert "it died" in why(broker, second)
    assert "builtins.ValueError: it went boom" in why(broker, second)
    settled = job()
    broker.put([settled])
    settle(consumer, take(consumer))
    assert "it succeeded" in why(broker, settled)
    assert explain(broker, "nobody's") is None
    consumer.close()


def test_what_holds_it_back(broker: Broker) -> None:
    one = JobLimit("k", running=1)
    parent, held, shut = (
        job(task="parent"),
        job(constraints=Constraints(limits=[one])),
        job(constraints=Constraints(limits=[one])),
    )
    child = job(constraints=Constraints(after=[parent.id]))
    broker.put([parent, child])
    assert why(broker, child) == f"it is waiting for parent {parent.id} (ready)"
    consumer = broker.consumer(["q"], lease=60)
    settle(consumer, take(consumer), Dead(BOOM))
    assert why(broker, child) == f"it is waiting for parent {parent.id}, which is dead: retry that one"
    broker.put([held, shut])
    take(consumer)
    nothing(consumer)
    assert why(broker, shut) == f"limit k is reached: 1 running ({held.id}), 1 waiting"
    rated, late = (job(constraints=Constraints(limits=[JobLimit("r", starts=1, per=3600.0)])) for _ in range(2))
    broker.put([rated, late])
    take(consumer)
    nothing(consumer)
    assert "1 waiting, open in 60 m" in why(broker, late)
    consumer.close()


def test_pauses(broker: Broker) -> None:
    broker.put([sent := job(task="t")])
    assert pause(broker.kv, "queue", "q", True)
    assert not pause(broker.kv, "queue", "q", True)
    assert pause(broker.kv, "task", "t", True)
    assert why(broker, sent).startswith("queue q is paused; task t is paused; no living worker")
    assert pause(broker.kv, "queue", "q", False)
    assert not pause(broker.kv, "queue", "q", False)
    assert why(broker, sent).startswith("task t is paused")


def test_a_long_queue_and_a_parent_that_was_cancelled(broker: Broker) -> None:
    parent, last = job(), job()
    child = job(constraints=Constraints(after=[parent.id]))
    broker.put([parent, child])
    broker.inspector.cancel([parent.id])
    assert f"{parent.id}, which was cancelled: cancel this one too" in why(broker, child)
    broker.put([*(job() for _ in range(COUNTED)), last])
    assert f"it is ready, behind at least {COUNTED:,} jobs in queue q" in why(broker, last)
