"""The PostgreSQL broker through a real pgbouncer that pools transactions: callers share fewer sessions than they are."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from longboat.core.job import State
from longboat.errors import BrokerUnavailable
from tests.rigs.redis import done, drain, ids_of, jobs, opened, refused, stubborn
from tests.rigs.servers import pgbouncer, postgres
from tests.rigs.servers.pgbouncer import PgbouncerServer
from tests.rigs.servers.postgres import PostgresServer

missing = postgres.available() or pgbouncer.available()
pytestmark = pytest.mark.skipif(missing is not None, reason=str(missing))

SESSIONS = 3
CALLERS = 8
EACH = 100


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    with PostgresServer(tmp_path_factory.mktemp("postgres")) as made:
        yield made


@pytest.fixture
def pooler(server: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PgbouncerServer]:
    server.query("DROP SCHEMA IF EXISTS longboat CASCADE")
    with PgbouncerServer(tmp_path_factory.mktemp("pgbouncer"), server, sessions=SESSIONS) as made:
        yield made


def test_many_callers_share_few_sessions(server: PostgresServer, pooler: PgbouncerServer) -> None:
    with opened(f"{pooler.url}?pgbouncer=1&timeout=5s") as broker, ThreadPoolExecutor(2 * CALLERS) as threads:
        listener = broker.results.listen()
        made = jobs(CALLERS * EACH)
        ids = [job.id for job in made]
        listener.watch(ids)

        def put(part: int) -> None:
            for start in range(part * EACH, (part + 1) * EACH, 10):
                assert len(broker.put(made[start : start + 10], token=(f"client{part}", start + 1))) == 10

        def run() -> list[str]:
            consumer, ran = broker.consumer(["default"], lease=30), list[str]()
            while leases := consumer.receive(7, wait=1):
                assert consumer.settle(done(leases), started=leases) == []
                assert consumer.extend().alive
                ran += ids_of(leases)
            consumer.close()
            return ran

        running = [threads.submit(run) for _ in range(CALLERS)]
        for putting in [threads.submit(put, part) for part in range(CALLERS)]:
            putting.result(30)
        assert sorted(each for ran in running for each in ran.result(30)) == sorted(ids), "each job ran once"
        told: set[str] = set()
        while len(told) < len(ids):
            told |= {result.id for result in listener.wait(5)}
        listener.close()
        assert broker.inspector.counts() == {("default", State.SUCCEEDED): len(ids)}
    used = server.query("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'longboat'")
    assert 1 < int(used) <= SESSIONS


def test_who_waits_gets_what_is_put(server: PostgresServer, pooler: PgbouncerServer) -> None:
    """And what is stored by the commit of a caller's own transaction, through the pooler or beside it."""
    with opened(f"{pooler.url}?pgbouncer=1") as broker, ThreadPoolExecutor(1) as threads:
        consumer = broker.consumer(["default"], lease=30)
        for url in (pooler.url, server.url):
            receiving = threads.submit(consumer.receive, 1, wait=10)
            with psycopg.connect(url, prepare_threshold=None) as connection:
                broker.within(connection).put(made := jobs(1))  # type: ignore[attr-defined]  # what this adapter has of its own
            [lease] = receiving.result(2)
            assert lease.job.id == made[0].id
            assert consumer.settle(done([lease])) == []
        consumer.close()


def test_a_pooler_that_restarts(pooler: PgbouncerServer) -> None:
    with opened(f"{pooler.url}?pgbouncer=1") as broker:
        consumer = broker.consumer(["default"], lease=30)
        ids = broker.put(jobs(20))
        pooler.kill()
        refused(broker.inspector.counts)
        refused(lambda: consumer.receive(1, wait=1))
        pooler.start()
        stubborn(broker.inspector.counts)
        assert drain(broker, consumer, 20) == ids
        consumer.close()


def test_a_pooler_that_nobody_told_of_is_named(pooler: PgbouncerServer) -> None:
    with opened(pooler.url) as broker, pytest.raises(BrokerUnavailable, match=r"\?pgbouncer=1"):
        broker.inspector.counts()
