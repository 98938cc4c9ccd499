"""RabbitMQ alone: the order of a level, kept by workers that are pushed or look past what they have no slot for."""

from __future__ import annotations

import threading
import time
from contextlib import closing
from typing import Any

import pytest

from longboat import Longboat
from longboat.contract.broker import Broker
from longboat.core.job import Done, Release
from longboat.testing.conformance.stage import ids, settle, some
from tests.faults.test_rabbitmq_untaken import received
from tests.rigs.servers.process import until
from tests.rigs.servers.rabbitmq import available

pytestmark = [pytest.mark.slow, pytest.mark.skipif(available() is not None, reason=str(available()))]

LONG = 0.5
"""Seconds that a job takes: after half of it nothing more is pushed to its worker."""


def test_a_worker_keeps_the_order_of_a_lower_level_while_it_is_full(broker: Broker) -> None:
    high, low = some(6, queue="q", priority=1), some(12, queue="q")
    broker.put(low)
    broker.put(high)
    seen: list[str] = []
    with closing(broker.consumer(["q"], lease=30.0)) as consumer:
        for n in (3, 1, 2, 4, 4, 4):
            leases = received(consumer, n)
            seen += ids(leases)
            if len(seen) <= len(high):
                time.sleep(LONG)
            for each in leases:
                settle(consumer, each, Done(b""))
    assert seen == ids(high + low)


def test_what_is_looked_past_keeps_its_place_and_is_not_published_again(broker: Any) -> None:
    jobs, more = some(8, queue="q"), some(4, queue="q")
    sent: list[Any] = []
    with closing(broker.consumer(["q"], lease=30.0)) as consumer:
        consumer._send = sent.extend
        broker.put(jobs)
        for _ in range(3):
            leases = received(consumer, 8)
            assert ids(leases) == ids(jobs)
            for each in leases[1:]:
                settle(consumer, each, Release())
            settle(consumer, leases[0], Release())
        broker.put(more)
        leases = received(consumer, 12)
    assert ids(leases) == ids(jobs + more)
    assert not sent


def test_an_idle_worker_gets_what_a_full_one_keeps_once_nothing_else_is_ready(broker: Broker) -> None:
    jobs = some(40, queue="q")
    with closing(broker.consumer(["q"], lease=30.0)) as full, closing(broker.consumer(["q"], lease=30.0)) as other:
        broker.put(jobs)
        first = received(full, 10)
        for each in first[2:]:
            settle(full, each, Release())
        time.sleep(2 * LONG)
        rest = [each for n in (20, 10, 8) for each in received(other, n)]
    assert ids(rest) == ids(jobs[10:] + jobs[2:10])
    assert {(each.attempt, each.worker_deaths) for each in rest} == {(1, 0)}


def test_threads_that_are_full_keep_their_order_while_coroutines_run(url: str) -> None:
    app = Longboat(url)
    free, ran = threading.Event(), []

    @app.task(name="thread")
    def thread(number: int) -> None:
        assert free.wait(30)
        ran.append(number)

    @app.task(name="coroutine")
    async def coroutine() -> None:
        pass

    jobs = [thread.enqueue(number) for number in range(30)]
    with app.worker(threads=1, concurrency=10):
        for _ in range(5):
            coroutine.enqueue().result(timeout=20.0)
        free.set()
        until(lambda: jobs[-1].result(timeout=30.0) is None and len(ran) == len(jobs), "all ran", 30.0)
    app.close()
    assert ran == list(range(30))
