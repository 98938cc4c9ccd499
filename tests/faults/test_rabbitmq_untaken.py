"""What RabbitMQ has pushed to a worker that has no slot for it goes to others, and counts as held by nobody that died."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing

import pytest

from longboat import Longboat
from longboat.contract.broker import Broker, Consumer, Lease
from longboat.core.job import Job
from longboat.testing.conformance.stage import job
from tests.rigs.servers.process import until
from tests.rigs.servers.rabbitmq import available

pytestmark = [pytest.mark.slow, pytest.mark.skipif(available() is not None, reason=str(available()))]


def asks_for(consumer: Consumer, broker: Broker, *numbers: int) -> None:
    """Each time for more, so that it has several subscriptions."""
    for number in numbers:
        broker.put([job()])
        received(consumer, 1, ask=number)


def received(consumer: Consumer, number: int, *, ask: int = 0) -> list[Lease]:
    leases: list[Lease] = []

    def enough() -> bool:
        leases.extend(consumer.receive(ask or number, wait=0.5))
        return len(leases) >= number

    until(enough, f"{number} received", 20.0)
    return leases


def pushed_to(consumer: Consumer, broker: Broker, jobs: Sequence[Job]) -> None:
    broker.put(jobs)
    incoming = consumer._receiver._incoming  # type: ignore[attr-defined]  # only it knows what nobody has taken
    until(lambda: incoming.waiting() == len(jobs), "all are pushed", 10.0)


def test_what_nobody_has_taken_goes_back_and_no_death_is_counted(broker: Broker) -> None:
    jobs = [job() for _ in range(20)]
    with closing(broker.consumer(["q"], lease=30.0)) as full, closing(broker.consumer(["q"], lease=30.0)) as other:
        asks_for(full, broker, 1, 4, 12, 40)
        pushed_to(full, broker, jobs)
        leases = received(other, len(jobs))
    assert {each.job.id: (each.attempt, each.worker_deaths) for each in leases} == {each.id: (1, 0) for each in jobs}


def test_what_nobody_has_taken_goes_back_when_the_consumer_is_closed(broker: Broker) -> None:
    jobs = [job() for _ in range(20)]
    full = broker.consumer(["q"], lease=30.0)
    asks_for(full, broker, 40)
    pushed_to(full, broker, jobs)
    full.close()
    with closing(broker.consumer(["q"], lease=30.0)) as other:
        leases = received(other, len(jobs) + 1)
    deaths = {each.job.id: each.worker_deaths for each in leases}
    assert {each.id: deaths.get(each.id) for each in jobs} == {each.id: 0 for each in jobs}


def test_slow_jobs_of_a_backlog_run_in_all_slots(url: str) -> None:
    app = Longboat(url)
    running: list[int] = [0]
    seen: list[int] = []

    @app.task(name="slow")
    def slow() -> None:
        running[0] += 1
        seen.append(running[0])
        time.sleep(0.4)
        running[0] -= 1

    jobs = slow.enqueue_many([()] * 40)
    with app.worker(threads=4):
        for each in jobs:
            each.result(timeout=60.0)
    app.close()
    assert seen.count(4) >= 5, "they ran one by one"  # ten times, if they run in rounds of four
