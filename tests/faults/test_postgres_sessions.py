"""What PostgreSQL alone can do: jobs in the caller's transaction, a pooler between."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress

import psycopg
import pytest

from longboat import Longboat, Unique
from longboat.brokers.postgres.migration import LAYOUT
from longboat.contract.broker import Broker, Consumer
from longboat.core.constraints import Constraints, JobLimit
from longboat.errors import BrokerError, BrokerMisconfigured, BrokerUnavailable, ConfigError, StoreTooNew, Unsupported
from tests.rigs.fault import until
from tests.rigs.redis import done, drain, ids_of, jobs, opened, refused
from tests.rigs.servers.postgres import PostgresServer, available

pytestmark = [pytest.mark.slow, pytest.mark.skipif(available() is not None, reason=str(available()))]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    with PostgresServer(tmp_path_factory.mktemp("postgres")) as made:
        yield made


@pytest.fixture
def url(server: PostgresServer, request: pytest.FixtureRequest) -> str:
    """Of a store of its own."""
    return f"{server.url}?schema=s{abs(hash(request.node.name))}"


def test_jobs_go_with_the_callers_transaction(server: PostgresServer, url: str) -> None:
    app = Longboat(url)

    @app.task(name="add")
    def add(a: int, b: int) -> int:
        return a + b

    try:
        with psycopg.connect(server.url) as connection:
            add.using(connection=connection).enqueue(1, 2)
            assert app.broker.inspector.counts() == {}, "seen before the commit"
            connection.rollback()
            assert app.broker.inspector.counts() == {}
            handle = add.using(connection=connection).enqueue(3, 4)
            handles = add.using(connection=connection, queue="many").enqueue_many([(1, 1), (2, 2)])
            connection.commit()
        assert [view.id for view in app.broker.inspector.find([handle.id, *(each.id for each in handles)]) if view] == [
            handle.id,
            *(each.id for each in handles),
        ]
        with pytest.raises(ConfigError, match="no open connection of a database driver"):
            add.using(connection=object()).enqueue(1, 2)
        with closing(sqlite3.connect(":memory:")) as other, pytest.raises(ConfigError, match="leads to a sqlite database"):
            add.using(connection=other).enqueue(1, 2)
    finally:
        app.close()


def test_a_commit_wakes_a_waiting_consumer(server: PostgresServer, url: str) -> None:
    with opened(url) as broker, psycopg.connect(server.url) as connection, ThreadPoolExecutor(1) as threads:
        consumer = broker.consumer(["default"], lease=30)
        receiving = threads.submit(consumer.receive, 1, wait=10)
        broker.within(connection).put(made := jobs(1))  # type: ignore[attr-defined]  # what this adapter has of its own
        assert not receiving.done()
        connection.commit()
        assert [lease.job.id for lease in receiving.result(5)] == [made[0].id]
        consumer.close()


def test_unique_calls_in_the_callers_transaction(server: PostgresServer, url: str) -> None:
    """The key is taken with the job and given back with it: no call that was rolled back swallows another."""
    app = Longboat(url)

    @app.task(name="report", unique=Unique(by="{user}", until="10m"), keep_result=0)
    def report(user: str) -> None: ...

    with app, psycopg.connect(server.url) as connection:
        within = report.using(connection=connection)
        first = within.enqueue("ann")
        assert [within.enqueue("ann").id, within.s("ann").enqueue().ends] == [first.id] * 2
        assert [each.id for each in within.enqueue_many([("ann",), ("ann",)])] == [first.id] * 2
        connection.rollback()
        assert app.broker.inspector.counts() == {}
        second = report.enqueue("ann")
        assert second.new
        assert [within.enqueue("ann").id, within.enqueue("ann").new] == [second.id, False]
        third = within.enqueue("bob")
        connection.commit()
        assert (report.enqueue("bob").id, third.new) == (third.id, True)
        with app.worker(burst=True) as worker:
            assert worker.finished.wait(10)
        assert app.broker.inspector.find([third.id]) == [None]
        assert report.enqueue("bob").id == third.id, "the window is not over"


def test_other_brokers_do_not_pretend() -> None:
    app = Longboat("memory://")

    @app.task(name="nothing")
    def nothing() -> None: ...

    with pytest.raises(Unsupported, match="connection"):
        nothing.using(connection=object()).enqueue()
    app.close()


def test_behind_a_pooler_no_session_keeps_anything(server: PostgresServer, url: str) -> None:
    with opened(f"{url}&pgbouncer=1") as broker, ThreadPoolExecutor(1) as threads:
        consumer, listener = broker.consumer(["default"], lease=30), broker.results.listen()
        ids = broker.put(jobs(20))
        listener.watch(ids)
        for _ in range(10):
            broker.inspector.counts()
        assert drain(broker, consumer, 20) == ids
        told: set[str] = set()
        while len(told) < 20:
            told |= {result.id for result in listener.wait(5)}
        receiving = threads.submit(consumer.receive, 1, wait=10)
        assert len(broker.put(jobs(1))) == len(receiving.result(5)) == 1
        sessions = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'longboat' AND query LIKE 'LISTEN%'"
        assert server.query(sessions) == "0"
        with psycopg.connect(server.url) as connection:
            assert connection.execute("SELECT count(*) FROM pg_prepared_statements").fetchone() == (0,)
        links = broker._store.pool._idle  # type: ignore[attr-defined]  # what this adapter has of its own
        assert links
        for link in links:
            assert link.execute("SELECT count(*) FROM pg_prepared_statements").fetchone() == (0,)
            assert link.execute("SHOW enable_seqscan").fetchone() == ("on",)
        listener.close()
        consumer.close()


def test_a_role_that_may_make_no_tables_is_told(server: PostgresServer, url: str) -> None:
    server.query("DROP ROLE IF EXISTS few; CREATE ROLE few LOGIN")
    with opened(url.replace("longboat@", "few@")) as broker:
        assert "permission denied" in str(refused(broker.inspector.counts, BrokerMisconfigured))


def test_a_newer_store_is_left_alone(server: PostgresServer, url: str) -> None:
    schema = url.rpartition("=")[2]
    with opened(url) as broker:
        broker.put(jobs(1))
    server.query(f"UPDATE {schema}.version SET version = 99")
    with opened(url) as broker, pytest.raises(StoreTooNew, match="99"):
        broker.put(jobs(1))


def test_an_older_store_is_refused_with_what_to_do(server: PostgresServer, url: str) -> None:
    schema = url.rpartition("=")[2]
    with opened(url) as broker:
        broker.put(jobs(1))
    server.query(f"UPDATE {schema}.version SET version = 2")
    with opened(url) as broker:
        with pytest.raises(
            BrokerError, match=rf"layout is 2, this one needs {LAYOUT}.* another schema \(\?schema=…\).*DROP SCHEMA"
        ):
            broker.put(jobs(1))
        with pytest.raises(BrokerError, match="cannot be migrated"):
            broker.migrations.plan()  # type: ignore[attr-defined]  # what this adapter has of its own
    assert server.query(f"SELECT count(*) FROM {schema}.jobs") == "1", "nothing was changed"


def test_an_older_store_is_brought_up_to_date(server: PostgresServer, url: str) -> None:
    schema = url.rpartition("=")[2]
    with opened(url) as broker:
        broker.put(jobs(1))
        server.query(f"ALTER TABLE {schema}.blocked DROP COLUMN name; UPDATE {schema}.version SET version = 3")
        with opened(url) as newer:
            sent = jobs(3)
            for each in sent:
                each.constraints = Constraints(limits=[JobLimit("k", running=1)])
            newer.put(sent)
            consumer = newer.consumer([sent[0].queue], lease=30)
            assert len(consumer.receive(5, wait=0)) == 2, "the one of before, and one that the limit leaves through"
            consumer.close()
        assert server.query(f"SELECT version FROM {schema}.version") == str(LAYOUT)
        broker.put(jobs(1))


def test_a_database_that_is_serializable_by_default(server: PostgresServer, url: str) -> None:
    """Many callers and consumers at once: nobody is told of serialization failures."""
    server.query("ALTER DATABASE postgres SET default_transaction_isolation = 'serializable'")
    try:
        for pooled in ("", "&pgbouncer=1"):
            with opened(url + pooled) as broker, ThreadPoolExecutor(8) as threads:
                queue = f"of{pooled}"
                consumers = [broker.consumer([queue], lease=30) for _ in range(4)]
                puts = [threads.submit(broker.put, jobs(20, queue=queue)) for _ in range(8)]
                ids = sorted(each for put in puts for each in put.result(10))
                ran = [threads.submit(_ran, broker, consumer, len(ids) // 4) for consumer in consumers]
                assert sorted(each for some in ran for each in some.result(20)) == ids
                for consumer in consumers:
                    consumer.close()
    finally:
        server.query("ALTER DATABASE postgres RESET default_transaction_isolation")


def _ran(broker: Broker, consumer: Consumer, n: int) -> list[str]:
    """As `drain`, but exactly so many, however many others take some."""
    ran: list[str] = []
    while len(ran) < n:
        leases = consumer.receive(min(7, n - len(ran)), wait=5)
        assert leases, broker.inspector.counts()
        assert consumer.settle(done(leases)) == []
        ran += ids_of(leases)
    return ran


def longboat(*arguments: str) -> str:
    """What the command prints."""
    command = [sys.executable, "-m", "longboat", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout


def test_migrate(server: PostgresServer, url: str) -> None:
    schema = url.rpartition("=")[2]
    exists = f"SELECT count(*) FROM pg_namespace WHERE nspname = '{schema}'"
    assert longboat("migrate", "--url", url, "--plan") == f"would make a new store of version {LAYOUT}\n"
    script = longboat("migrate", "--url", url, "--sql")
    assert server.query(exists) == "0", "both change nothing"
    server.query(script)
    assert longboat("migrate", "--url", url) == f"the store is up to date (version {LAYOUT})\n"
    assert longboat("migrate", "--url", url, "--sql") == ""
    server.query(f"DROP SCHEMA {schema} CASCADE")
    assert longboat("migrate", "--url", url) == f"made a new store of version {LAYOUT}\n"
    with opened(url) as broker:
        assert len(broker.put(jobs(1))) == 1


def test_deadlocks_are_retried(server: PostgresServer, url: str) -> None:
    """Puts of the same jobs in opposite orders: whichever of the two is rolled back, the broker's own put goes on."""
    first, second = jobs(2)
    with opened(f"{url}&timeout=5s") as broker, psycopg.connect(server.url) as connection, ThreadPoolExecutor(1) as threads:
        broker.within(connection).put([second])  # type: ignore[attr-defined]  # what this adapter has of its own
        putting = threads.submit(broker.put, [first, second])
        until(lambda: server.query("SELECT count(*) FROM pg_locks WHERE NOT granted") != "0", 5)
        with suppress(BrokerUnavailable):  # it may be the one that is rolled back
            broker.within(connection).put([first])  # type: ignore[attr-defined]  # what this adapter has of its own
        assert server.query("SELECT deadlocks FROM pg_stat_database WHERE datname = 'postgres'") != "0"
        connection.rollback()
        assert putting.result(10) == [first.id, second.id]
        assert sum(broker.inspector.counts().values()) == 2
