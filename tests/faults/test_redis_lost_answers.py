"""Answers that were lost, and requests that come late: no job is leased to nobody, none is put twice, none is forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Event, Thread

import pytest

from longboat.contract.broker import Broker
from longboat.core.constraints import Constraints, JobLimit
from longboat.core.job import State
from tests.rigs.redis import RESULT, done, drain, ids_of, jobs, opened, refused, request_of, stubborn
from tests.rigs.servers.redis import RedisServer, available
from tests.rigs.tcp_proxy import Proxy

pytestmark = [pytest.mark.slow, pytest.mark.skipif(available() is not None, reason=str(available()))]

QUICK = "timeout=600ms"
"""The time limit of calls where a test waits for it to pass, since that is not what it is about."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as made:
        yield made


@pytest.fixture
def proxy(server: RedisServer) -> Iterator[Proxy]:
    server.command("FLUSHALL")
    with Proxy(server.port) as made:
        yield made


@pytest.fixture
def broker(proxy: Proxy) -> Iterator[Broker]:
    with opened(f"redis://127.0.0.1:{proxy.port}/0?{QUICK}") as made:
        yield made


def test_a_claim_whose_answer_is_lost(proxy: Proxy, broker: Broker) -> None:
    ids = broker.put(jobs(5))
    consumer = broker.consumer(["default"], lease=30)
    first = consumer.receive(1, wait=0)
    proxy.lose_answer_to(request_of("claim"))
    refused(lambda: consumer.receive(3, wait=0))
    assert proxy.lost.is_set()
    assert broker.inspector.counts() == {("default", State.READY): 1, ("default", State.RUNNING): 4}
    again = consumer.receive(3, wait=0)
    assert sorted(ids_of(again)) == ids[1:4]
    assert consumer.settle(done(first + again)) == []
    assert drain(broker, consumer, 1) == ids[4:]
    assert broker.inspector.counts() == {("default", State.SUCCEEDED): 5}
    consumer.close()


@pytest.mark.parametrize("lost", ["claim", "HMGET"])
def test_a_claim_of_limited_jobs_whose_answer_is_lost(lost: str, proxy: Proxy, broker: Broker) -> None:
    """Be it that of the claim, or that of the question for their inputs: each counts once, until it is settled."""
    [parent] = jobs(1)
    ids = broker.put([parent, *jobs(3, constraints=Constraints(after=[parent.id], limits=[JobLimit("two", running=2)]))])
    consumer = broker.consumer(["default"], lease=30)
    assert drain(broker, consumer, 1) == ids[:1]
    proxy.lose_answer_to(lost.encode() if lost == "HMGET" else request_of(lost))
    refused(lambda: consumer.receive(3, wait=0))
    assert proxy.lost.is_set()
    [view] = broker.inspector.limits(["two"])
    assert view is not None
    assert (view.running, view.holders, view.waiting) == (2, ids[1:3], 1)
    again = consumer.receive(3, wait=0)
    assert (sorted(ids_of(again)), [list(lease.inputs) for lease in again]) == (ids[1:3], [[RESULT]] * 2)
    assert consumer.settle(done(again)) == []
    assert drain(broker, consumer, 1) == ids[3:]
    assert broker.inspector.limits(["two"]) == [None]
    consumer.close()


def test_claims_whose_answers_are_lost_one_after_the_other(proxy: Proxy, broker: Broker) -> None:
    ids = broker.put(jobs(6))
    consumer = broker.consumer(["default"], lease=30)
    for _ in range(3):
        proxy.lose_answer_to(request_of("claim"))
        refused(lambda: consumer.receive(2, wait=0))
    leases = consumer.receive(2, wait=0)
    assert sorted(ids_of(leases)) == ids[:2]
    assert consumer.settle(done(leases)) == []
    assert drain(broker, consumer, 4) == ids[2:]
    consumer.close()


def test_a_claim_that_comes_late(server: RedisServer, proxy: Proxy, broker: Broker) -> None:
    """The network held it; meanwhile the consumer has gone on by another connection."""
    consumer = broker.consumer(["default"], lease=30)
    assert consumer.receive(1, wait=0) == []
    proxy.hold(request_of("claim"))
    refused(lambda: consumer.receive(2, wait=0))
    assert proxy.held.is_set()
    assert consumer.receive(2, wait=0) == []
    ids = broker.put(jobs(3))
    proxy.release(lambda: server.command("PING"))
    assert drain(broker, consumer, 3) == ids, "the late claim has leased some of them to nobody"
    consumer.close()


def test_a_put_whose_answer_is_lost(proxy: Proxy, broker: Broker) -> None:
    batch = jobs(3)
    proxy.lose_answer_to(request_of("put"))
    refused(lambda: broker.put(batch, token=("client", 1)))
    assert proxy.lost.is_set()
    assert broker.put(batch, token=("client", 1)) == [job.id for job in batch]
    assert broker.inspector.counts() == {("default", State.READY): 3}


def test_a_put_that_is_sent_again_by_itself(proxy: Proxy, broker: Broker) -> None:
    """A connection that was open before may be dead; its put is made again, with the same token."""
    broker.inspector.counts()
    batch = jobs(3)
    proxy.lose_answer_to(request_of("put"))
    assert broker.put(batch) == [job.id for job in batch]
    assert proxy.lost.is_set()
    assert broker.inspector.counts() == {("default", State.READY): 3}


def test_a_settle_whose_answer_is_lost(proxy: Proxy, broker: Broker) -> None:
    broker.put(jobs(2))
    consumer = broker.consumer(["default"], lease=30)
    leases = consumer.receive(2, wait=0)
    proxy.lose_answer_to(request_of("settle"))
    refused(lambda: consumer.settle(done(leases)))
    assert proxy.lost.is_set()
    assert consumer.settle(done(leases)) == leases, "they are settled, and no lease of this consumer any more"
    assert broker.inspector.counts() == {("default", State.SUCCEEDED): 2}
    consumer.close()


@pytest.mark.parametrize("lost", ["the wait", "the answer"])
def test_a_result_whose_listener_loses_its_connection(lost: str, server: RedisServer, proxy: Proxy, broker: Broker) -> None:
    with opened(server.url) as other:
        [job_id, later] = broker.put(jobs(2))
        listener, consumer = broker.results.listen(), other.consumer(["default"], lease=30)
        listener.watch([job_id, later])
        assert listener.wait(0) == []
        if lost == "the wait":
            proxy.cut()
            consumer.settle(done(consumer.receive(1, wait=1)))
        else:
            proxy.lose_answer_to(b"BLPOP")
            consumer.settle(done(consumer.receive(1, wait=1)))
            refused(lambda: listener.wait(5))
            assert proxy.lost.is_set()
        [result] = stubborn(lambda: listener.wait(5))
        assert (result.id, result.value) == (job_id, RESULT)
        consumer.settle(done(consumer.receive(1, wait=1)))
        [result] = listener.wait(5)
        assert (result.id, result.value) == (later, RESULT)
        listener.close()
        consumer.close()


def test_a_wait_that_comes_late(server: RedisServer, proxy: Proxy, broker: Broker) -> None:
    """It takes nothing from the one that its listener makes instead."""
    with opened(server.url) as other:
        [job_id] = broker.put(jobs(1))
        listener, consumer = broker.results.listen(), other.consumer(["default"], lease=30)
        listener.watch([job_id])
        assert listener.wait(0) == []
        proxy.hold(b"BLPOP")
        refused(lambda: listener.wait(5))
        assert proxy.held.is_set()
        assert listener.wait(0) == [], "it is told of all that has ended, by another connection"
        consumer.settle(done(consumer.receive(1, wait=1)))
        proxy.release(lambda: server.command("PING"))
        [result] = listener.wait(5)
        assert result.id == job_id
        listener.close()
        consumer.close()


def test_a_worker_that_waits_is_rung_through_a_connection_that_was_cut(proxy: Proxy, broker: Broker) -> None:
    consumer = broker.consumer(["default"], lease=30)
    got: list[str] = []
    ready = Event()

    def receive() -> None:
        ready.set()
        got.extend(ids_of(stubborn(lambda: consumer.receive(1, wait=10))))

    waiting = Thread(target=receive)
    waiting.start()
    assert ready.wait(5)
    proxy.cut()
    ids = stubborn(lambda: broker.put(jobs(1)))
    waiting.join(5)
    assert got == ids
    stubborn(consumer.close)


def test_all_of_it_at_random(proxy: Proxy, broker: Broker) -> None:
    """Connections are cut all the time while jobs are put and run: each ends once, and nothing stays."""
    consumer, over, cuts = broker.consumer(["default"], lease=30), Event(), 0
    ran: list[str] = []
    ids: list[str] = []

    def run() -> None:
        while not over.is_set() or broker_counts().get(("default", State.SUCCEEDED), 0) < len(ids):
            leases = stubborn(lambda: consumer.receive(7, wait=0.05))
            ran.extend(ids_of(leases))
            stubborn(lambda: consumer.settle(done(leases)))  # noqa: B023  # it is called at once

    def broker_counts() -> dict[tuple[str, State], int]:
        return dict(stubborn(broker.inspector.counts))

    running = Thread(target=run)
    running.start()
    for number in range(200):
        batch = jobs(5)
        ids += stubborn(lambda: broker.put(batch, token=("cut", number)))  # noqa: B023  # it is called at once
        if number % 4 == 0:
            proxy.cut()
            cuts += 1
    over.set()
    running.join(20)
    assert not running.is_alive(), broker_counts()
    assert broker_counts() == {("default", State.SUCCEEDED): 1000}
    assert sorted(ran) == sorted(ids), "each was received once, since no lease was lost"
    stubborn(consumer.close)
