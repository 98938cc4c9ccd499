"""Who is rung when consumers of every queue pause some of them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from longboat.contract.broker import Broker, Consumer
from longboat.core.clock import SYSTEM
from longboat.core.job import MESSAGE_VERSION, Job, new_id
from tests.rigs.harnesses import NewRedis, unavailable

PROMPTLY = 0.5
"""Seconds: who is not rung looks once a second."""


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    if reason := unavailable("redis"):
        pytest.skip(reason)
    made = NewRedis(tmp_path, SYSTEM).open()
    yield made
    made.close()


def received_in(consumer: Consumer) -> tuple[list[str], float]:
    """The queues of what it receives, and when."""
    leases = consumer.receive(1, wait=5.0)
    return [lease.job.queue for lease in leases], time.monotonic()


def put(broker: Broker, queue: str) -> float:
    broker.put([Job(MESSAGE_VERSION, new_id(), "t", b"\x80", queue)])
    return time.monotonic()


@pytest.mark.parametrize("queue", ["paused", "other"])
def test_a_job_wakes_only_who_takes_it(queue: str, broker: Broker) -> None:
    """What pauses the job's queue neither hears its ring in place of another, nor misses those of other queues."""
    consumers = [broker.consumer([], lease=30) for _ in range(4)]
    for pausing in consumers[:3]:
        pausing.pause(["paused"] if pausing is not consumers[2] else ["paused", "more"], [])
    waiting = consumers[:3] if queue == "other" else consumers
    with ThreadPoolExecutor(4) as threads:
        running = [threads.submit(received_in, each) for each in waiting]
        time.sleep(0.3)
        for _ in waiting if queue == "other" else "1":
            at = put(broker, queue)
        came = [each.result() for each in running if queue == "other" or each is running[3]]
        for each in consumers:
            each.wake()
    assert [queues for queues, _ in came] == [[queue]] * len(came)
    assert max(when for _, when in came) - at < PROMPTLY
    for each in consumers:
        each.close()


def test_named_consumers_leave_the_rings_of_what_they_pause(broker: Broker) -> None:
    pausing, other = (broker.consumer(["a", "b"], lease=30) for _ in range(2))
    pausing.pause(["a"], [])
    with ThreadPoolExecutor(2) as threads:
        asleep = threads.submit(received_in, pausing)
        time.sleep(0.2)
        awake = threads.submit(received_in, other)
        time.sleep(0.2)
        at = put(broker, "a")
        queues, when = awake.result()
        assert queues == ["a"]
        assert when - at < PROMPTLY
        at = put(broker, "b")
        queues, when = asleep.result()
        assert queues == ["b"]
        assert when - at < PROMPTLY
    pausing.close()
    other.close()


def test_all_queues_paused_by_name_are_not_every_queue(broker: Broker) -> None:
    consumer = broker.consumer(["a"], lease=30)
    consumer.pause(["a"], [])
    put(broker, "a")
    put(broker, "b")
    assert consumer.receive(10, wait=0.1) == []
    consumer.pause([], [])
    assert [lease.job.queue for lease in consumer.receive(10, wait=0.1)] == ["a"]
    consumer.close()
