"""Who begins to wait while something is under way on PostgreSQL is told of it all the same."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import psycopg
import pytest

from longboat import connect
from longboat.contract.broker import Broker, Settlement
from longboat.core.job import MESSAGE_VERSION, Done, Job, new_ids
from tests.rigs.servers.postgres import PostgresServer, available
from tests.rigs.servers.process import until

pytestmark = pytest.mark.skipif(available() is not None, reason=str(available()))

HELD = 0.1
"""Seconds that something is under way after somebody began to wait."""
SOON = 0.5
"""Half of what it takes until everybody looks anyway."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    with PostgresServer(tmp_path_factory.mktemp("postgres")) as made:
        yield made


@pytest.fixture
def schema(request: pytest.FixtureRequest) -> str:
    return f"s{abs(hash(request.node.name))}"


@pytest.fixture
def broker(server: PostgresServer, schema: str) -> Iterator[Broker]:
    with closing(connect(f"{server.url}?schema={schema}")) as made:
        made.inspector.counts()
        yield made


def jobs(n: int) -> list[Job]:
    return [Job(MESSAGE_VERSION, each, "t", b"\x80") for each in new_ids(n)]


def test_a_put_that_began_before_the_consumer_waited(server: PostgresServer, schema: str, broker: Broker) -> None:
    """It could not know that it has to tell anybody."""
    consumer = broker.consumer(["default"], lease=30)
    first, second = jobs(2)
    with psycopg.connect(server.url) as connection, ThreadPoolExecutor(2) as threads:
        broker.within(connection).put([first])  # type: ignore[attr-defined]  # what this adapter has of its own
        putting = threads.submit(broker.put, [first, second])
        until(lambda: waits_for_locks(server) == 1, "the put waits for the other one's end", 5)
        receiving = threads.submit(consumer.receive, 2, wait=10)
        until(lambda: server.query(f"SELECT waiting FROM {schema}.consumers") == "t", "the consumer waits", 5)
        threading.Event().wait(HELD)
        connection.rollback()
        assert len(putting.result(5)) == 2
        assert {lease.job.id for lease in receiving.result(SOON)} == {first.id, second.id}
    consumer.close()


def test_an_outcome_that_was_under_way_when_the_listener_began(server: PostgresServer, schema: str, broker: Broker) -> None:
    consumer, listener = broker.consumer(["default"], lease=30), broker.results.listen()
    broker.put([job := jobs(1)[0]])
    [lease] = consumer.receive(1, wait=5)
    listener.watch([job.id])
    with psycopg.connect(server.url) as connection, ThreadPoolExecutor(2) as threads:
        connection.execute(f"SELECT 1 FROM {schema}.leased FOR UPDATE")
        settling = threads.submit(consumer.settle, [Settlement(lease, Done(b"\x01"))])
        until(lambda: waits_for_locks(server) == 1, "the outcome waits for the lock", 5)
        hearing = threads.submit(listener.wait, 10)
        until(lambda: server.query(f"SELECT count(*) FROM {schema}.listeners") == "1", "the listener waits", 5)
        threading.Event().wait(HELD)
        connection.rollback()
        assert settling.result(5) == []
        assert [result.value for result in hearing.result(SOON)] == [b"\x01"]
    listener.close()
    consumer.close()


def test_a_heartbeat_while_the_consumer_begins_to_wait(server: PostgresServer, schema: str, broker: Broker) -> None:
    """The server goes on taking it for one that waits."""
    consumer = broker.consumer(["default"], lease=30)
    with psycopg.connect(server.url) as connection, ThreadPoolExecutor(2) as threads:
        connection.execute(f"SELECT 1 FROM {schema}.consumers FOR UPDATE")
        receiving = threads.submit(consumer.receive, 1, wait=10)
        until(lambda: waits_for_locks(server) == 1, "its mark waits for the lock", 5)
        beating = threads.submit(consumer.extend)
        threading.Event().wait(HELD)
        connection.rollback()
        assert beating.result(5).alive
        assert server.query(f"SELECT waiting FROM {schema}.consumers") == "t"
        broker.put(made := jobs(1))
        assert [lease.job.id for lease in receiving.result(5)] == [made[0].id]
    consumer.close()


def test_every_put_is_told_at_once(broker: Broker) -> None:
    """However the answers to its looks and the notifications fall together, an idle consumer gets each job soon."""
    consumer = broker.consumer(["default"], lease=30)
    late: list[float] = []
    with ThreadPoolExecutor(1) as threads:
        for _ in range(100):
            receiving = threads.submit(consumer.receive, 1, wait=10)
            broker.put(jobs(1))
            began = time.monotonic()
            [lease] = receiving.result(10)
            late.append(time.monotonic() - began)
            assert consumer.settle([Settlement(lease, Done(b""))]) == []
    assert max(late) < SOON
    consumer.close()


def waits_for_locks(server: PostgresServer) -> int:
    return int(server.query("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"))
