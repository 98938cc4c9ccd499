"""A PostgreSQL server that is gone, stands still, or comes back: calls fail in time, workers live on, nothing is lost."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from longboat.core.job import State
from longboat.errors import BrokerMisconfigured, BrokerUnavailable
from tests.rigs.fault import Tree, Yard, until
from tests.rigs.redis import Clients, clients, drain, jobs, opened, refused, stubborn
from tests.rigs.servers.postgres import PostgresServer, available

claimer = pytest.importorskip("longboat.brokers.postgres.claimer")

pytestmark = [pytest.mark.slow, pytest.mark.skipif(available() is not None, reason=str(available()))]

FOUND_AGAIN = 2.0
"""Seconds after the server's return within which a worker works again."""
SLACK = 1.5
"""Seconds more: this machine may have to start the server and run the tests at once."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[PostgresServer]:
    with PostgresServer(tmp_path / "postgres") as made:
        yield made


def all_are_refused(each: Clients) -> None:
    """Each call that needs the server, in a thread of its own, all at once."""
    calls = {name: call for name, call in each.calls().items() if name != "watch"}
    with ThreadPoolExecutor(12) as threads:
        waiting = {name: threads.submit(refused, call) for name, call in calls.items()}
    failed = {name: told.exception() for name, told in waiting.items() if told.exception()}
    assert not failed, failed


def test_calls_while_the_server_is_down(server: PostgresServer) -> None:
    with clients(server.url) as each:
        server.kill()
        all_are_refused(each)
        server.start()
        each.all_work()


def test_calls_while_the_server_stands_still(server: PostgresServer) -> None:
    with clients(server.url) as each:
        server.freeze()
        all_are_refused(each)
        all_are_refused(each)  # by new connections, this time
        server.thaw()
        each.all_work()


@pytest.mark.parametrize("end", ["restart", "terminate"])
def test_connections_that_ended_unseen(server: PostgresServer, end: str) -> None:
    with clients(server.url) as each:
        if end == "restart":
            server.restart()
        else:
            ours = "FROM pg_stat_activity WHERE application_name = 'longboat'"
            server.query(f"SELECT pg_terminate_backend(pid) {ours}")
            until(lambda: server.query(f"SELECT count(*) {ours}") == "0", 10)  # they end a little later
        ids = each.broker.put(jobs(2))
        assert [view and view.id for view in each.broker.inspector.find(ids)] == ids
        each.broker.inspector.cancel(ids)
        each.dead_connections_are_told()
        each.all_work()


def test_too_many_connections(tmp_path: Path) -> None:
    options = ["max_connections = 6", "superuser_reserved_connections = 0"]
    with PostgresServer(tmp_path / "postgres", options=options) as server, opened(server.url) as broker:
        ids = broker.put(jobs(3))
        consumers = [broker.consumer(["default"], lease=30) for _ in range(8)]

        def all_receive() -> None:
            for consumer in consumers:
                consumer.receive(0, wait=0.01)

        told = refused(all_receive)
        assert "too many clients" in str(told)
        for consumer in consumers[1:]:
            consumer.close()
        assert drain(broker, consumers[0], 3) == ids
        consumers[0].close()


@pytest.mark.parametrize(("old", "new", "says"), [("longboat@", "nobody@", "nobody"), ("/postgres", "/nowhere", "nowhere")])
def test_a_server_that_refuses(server: PostgresServer, old: str, new: str, says: str) -> None:
    with opened(server.url.replace(old, new)) as broker:
        assert says in str(refused(broker.inspector.counts, BrokerMisconfigured))


def test_a_claim_whose_answer_was_lost_is_undone(server: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server leased jobs that nobody heard of: they come back although their consumer lives."""
    with opened(server.url) as broker:
        consumer = broker.consumer(["default"], lease=60)
        ids = broker.put(jobs(5))

        claim = claimer.claim

        def deaf(*values: Any, **options: Any) -> None:
            claim(*values, **options)
            raise BrokerUnavailable("the connection broke before the answer came")

        with monkeypatch.context() as patch:
            patch.setattr(claimer, "claim", deaf)
            with pytest.raises(BrokerUnavailable):
                consumer.receive(5, wait=0)
        assert broker.inspector.counts() == {("default", State.RUNNING): 5}
        assert drain(broker, consumer, 5) == ids
        consumer.close()


def is_at_work(yard: Yard, tree: Tree) -> float:
    """Seconds until something ends that is enqueued now."""
    began = time.monotonic()
    handle = stubborn(lambda: yard.task("nap").enqueue(0.0))
    yard.check.acknowledged.append(handle.id)
    until(lambda: f"end {handle.id} " in yard.log.read_text(), 10, tree.said)
    return time.monotonic() - began


def test_a_worker_outlives_what_becomes_of_the_server(server: PostgresServer, tmp_path: Path) -> None:
    def terminate() -> None:
        server.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")

    with Yard(tmp_path, url=server.url) as yard:
        tree = yard.start("--concurrency=20", "--lease=5s")
        [worker] = tree.up()
        faults: dict[str, Callable[[], None]] = {
            "fast": lambda: server.shutdown("fast"),
            "immediate": lambda: server.shutdown("immediate"),
            "kill": server.kill,
            "freeze": server.freeze,
            "terminate": terminate,
        }
        for fault, begin in faults.items():
            ended = yard.log.read_bytes().count(b"end ")
            yard.enqueue_many("nap", 600, 0.02)
            yard.until_ended(ended + 100, 20)
            said = tree.said().count("the broker fails")
            begin()
            if fault != "terminate":
                until(lambda: tree.said().count("the broker fails") > said, 10, tree.said)  # noqa: B023  # it is called at once
            if fault == "freeze":
                server.thaw()
            else:
                server.start()
            took = is_at_work(yard, tree)
            assert took < FOUND_AGAIN + SLACK, f"{fault}: it took {took:.1f} s"
        yard.until_over(30)
        assert tree.workers() == [worker]
        assert tree.stop() == 0
        yard.check.all_succeeded()


def put_stubbornly(yard: Yard, batches: int, size: int) -> None:
    """Batches with tokens, each of them tried until its put is acknowledged."""
    all_jobs = [job for made in yard.task("nap")._batches([(0.002,)] * (batches * size), {}) for job in made]
    for number in range(batches):
        batch = all_jobs[number * size : (number + 1) * size]
        ids = stubborn(lambda: yard.app.broker.put(batch, token=("stubborn", number + 1)))  # noqa: B023  # it is called at once
        yard.check.acknowledged += ids


def test_kills_in_the_middle_of_everything(server: PostgresServer, tmp_path: Path) -> None:
    """The client and the worker go on while the server is killed under them, again and again."""
    with Yard(tmp_path, url=server.url) as yard, ThreadPoolExecutor(1) as client:
        tree = yard.start("--concurrency=50", "--lease=5s")
        [worker] = tree.up()
        putting = client.submit(put_stubbornly, yard, 150, 20)
        for kill in range(1, 5):
            yard.until_ended(kill * 400, 20)
            server.kill()
            server.start()
        putting.result(30)
        yard.until_over(30)
        assert tree.workers() == [worker]
        assert tree.stop() == 0
        yard.check.all_succeeded()
        assert len(yard.check.acknowledged) == 3000
        with opened(server.url) as broker:
            assert broker.inspector.counts() == {("default", State.SUCCEEDED): 3000}, "no put made two jobs"
