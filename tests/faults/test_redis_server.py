"""What a Redis server refuses, and how it may be reached: limits, roles, passwords, TLS, sockets, forks, threads."""

from __future__ import annotations

import os
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Thread

import pytest

from longboat.contract.broker import Broker, Settlement
from longboat.contract.kv import Entry
from longboat.core.constraints import Constraints, JobLimit
from longboat.core.job import Job, Retry, State
from longboat.errors import BrokerError, BrokerFull, BrokerMisconfigured, BrokerUnavailable
from tests.rigs.fault import Yard
from tests.rigs.redis import NOBODY, done, drain, ids_of, jobs, opened, refused, request_of
from tests.rigs.servers.redis import RedisServer, available
from tests.rigs.tcp_proxy import Proxy

pytestmark = [pytest.mark.slow, pytest.mark.skipif(available() is not None, reason=str(available()))]

PASSWORD = "p@ss:word/1"


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as made:
        yield made


@pytest.fixture
def server(plain: RedisServer) -> RedisServer:
    plain.command("FLUSHALL")
    plain.command("CONFIG", "SET", "maxmemory", 0)
    return plain


def test_memory_that_is_full(server: RedisServer) -> None:
    """Nothing more is taken, and all that is needed to make room goes on, a claim whose answer was lost included."""
    with Proxy(server.port) as proxy, opened(f"redis://127.0.0.1:{proxy.port}/0") as broker:
        consumer, listener = broker.consumer(["default"], lease=30), broker.results.listen()
        ids = broker.put(jobs(20, 2000, keep=0))
        leases = consumer.receive(5, wait=0)
        server.command("CONFIG", "SET", "maxmemory", 1)
        before = broker.inspector.counts()
        assert "maxmemory" in str(refused(lambda: broker.put(jobs(3, 1000)), BrokerFull))
        assert broker.inspector.counts() == before, "all or nothing"
        assert consumer.extend().alive
        listener.watch(ids[:1])
        retry = [Settlement(lease, Retry(0.0, NOBODY)) for lease in leases[3:]]
        assert consumer.settle([*done(leases[:3]), *retry], started=leases[3:]) == []
        proxy.lose_answer_to(request_of("claim"))
        refused(lambda: consumer.receive(3, wait=0))
        again = consumer.receive(3, wait=0)
        assert sorted(ids_of(again)) == ids[3:6]
        assert consumer.settle(done(again)) == []
        refused(lambda: broker.put(jobs(1)), BrokerFull)
        assert drain(broker, consumer, 14) == ids[6:]
        assert broker.inspector.counts() == {}
        server.command("CONFIG", "SET", "maxmemory", 0)
        new = broker.put(jobs(2))
        assert drain(broker, consumer, 2) == new
        listener.close()
        consumer.close()


def test_tied_jobs_where_memory_is_full(server: RedisServer) -> None:
    """They go on to their ends, and make room; notes can be deleted."""
    limited = Constraints(limits=[JobLimit("one", running=1), JobLimit("rate", starts=100, per=60.0)])
    with opened(f"redis://127.0.0.1:{server.port}/0") as broker:
        consumer = broker.consumer(["default"], lease=30)
        parents = jobs(2, keep=0)
        after = jobs(2, keep=0, constraints=Constraints(after=[each.id for each in parents]))
        ids = broker.put(
            [
                *parents,
                *jobs(3, keep=0, constraints=limited),
                *after,
                *jobs(3, keep=0, constraints=Constraints(fairness_key="a")),
            ]
        )
        broker.kv.write("s", [Entry("a", b"1")])
        server.command("CONFIG", "SET", "maxmemory", 1)
        refused(lambda: broker.put(jobs(1, constraints=Constraints(fairness_key="a"))), BrokerFull)
        refused(lambda: broker.put(jobs(1, constraints=Constraints(after=ids[5:6]))), BrokerFull)
        refused(lambda: broker.kv.write("s", [Entry("b", b"1")]), BrokerFull)
        assert broker.kv.read("s", ["a", "b"]) == [b"1", None]
        broker.kv.write("s", [Entry("a", None)])
        consumer.pause(["another"], [])
        assert sorted(drain(broker, consumer, 10)) == sorted(ids)
        assert broker.inspector.counts() == {}
        server.command("CONFIG", "SET", "maxmemory", 0)
        consumer.close()


def test_a_worker_where_memory_is_full(server: RedisServer, tmp_path: Path) -> None:
    """It drains what is there, heartbeats included, and after that there is room again."""
    with Yard(tmp_path, url=server.url) as yard:
        server.command("CONFIG", "SET", "maxmemory-policy", "noeviction")
        used = int(server.info("memory")["used_memory"])
        server.command("CONFIG", "SET", "maxmemory", used + 3_000_000)
        refused_at = 0
        while not refused_at:
            try:
                yard.check.acknowledged += yard.app.broker.put(naps(yard, 20, filler=20_000))
            except BrokerFull:
                refused_at = len(yard.check.acknowledged)
            assert len(yard.check.acknowledged) < 2000
        tree = yard.start("--lease=1s", "--concurrency=10")
        tree.up()
        yard.until_over(20)
        assert yard.app.broker.inspector.counts() == {}, "these are not kept"
        yard.enqueue("nap", 0.0)
        yard.until_over(5)
        assert tree.stop() == 0
        assert len(yard.check.runs()) == refused_at + 1


def naps(yard: Yard, n: int, filler: int) -> list[Job]:
    """Big messages that leave nothing behind."""
    [made] = yard.task("nap").using(keep_result=0)._batches([(0.001,)] * n, {})
    for job in made:
        job.headers["filler"] = "x" * filler
    return made


def test_a_replica_that_only_reads(server: RedisServer, tmp_path: Path) -> None:
    options = [f"replicaof 127.0.0.1 {server.port}"]
    with RedisServer(tmp_path / "replica", options=options) as replica, opened(replica.url) as broker:
        for _ in range(2):
            assert "read-only replica" in str(refused(lambda: broker.put(jobs(1))))
            refused(lambda: broker.consumer(["default"], lease=5))
        replica.command("REPLICAOF", "NO", "ONE")
        assert len(broker.put(jobs(1))) == 1


def test_scripts_that_are_flushed_between_any_two_calls(server: RedisServer) -> None:
    with opened(server.url) as broker:
        server.command("SCRIPT", "FLUSH")
        consumer, listener = broker.consumer(["default"], lease=30), broker.results.listen()
        for _ in range(3):
            server.command("SCRIPT", "FLUSH")
            ids = broker.put(jobs(2))
            server.command("SCRIPT", "FLUSH")
            listener.watch(ids)
            server.command("SCRIPT", "FLUSH")
            leases = consumer.receive(2, wait=0)
            server.command("SCRIPT", "FLUSH")
            assert consumer.settle(done(leases)) == []
            server.command("SCRIPT", "FLUSH")
            assert consumer.extend().alive
            server.command("SCRIPT", "FLUSH")
            assert {result.id for result in listener.wait(1)} == set(ids)
        listener.close()
        consumer.close()


def test_a_key_of_another_type(server: RedisServer) -> None:
    server.command("SET", "{shop}:numbers", "mine")
    with opened(f"{server.url}?prefix=shop") as broker:
        error = refused(lambda: broker.put(jobs(1)), BrokerError)
        assert "prefix" in str(error)
        assert "shop" in str(error)
        server.command("DEL", "{shop}:numbers")
        assert len(broker.put(jobs(1))) == 1


def test_a_wrong_password(tmp_path: Path) -> None:
    with RedisServer(tmp_path, password=PASSWORD) as server:
        wrong = {server.url.replace("word", "Wort"): "refuses these credentials"}
        wrong[f"redis://127.0.0.1:{server.port}/0"] = "refuses these credentials"
        wrong[server.url.removesuffix("/0") + "/9999"] = "no database of that number"
        for url, says in wrong.items():
            with opened(url) as broker:
                error: BaseException | None = refused(broker.inspector.counts, BrokerMisconfigured)
                assert says in str(error)
                while error is not None:
                    assert "Wort" not in "".join(traceback.format_exception_only(error))
                    error = error.__cause__
        for url in (server.url, server.unix_url):
            with opened(url) as broker:
                assert len(broker.put(jobs(1))) == 1


def test_a_server_that_loads(tmp_path: Path) -> None:
    options = ["key-load-delay 300", "loading-process-events-interval-bytes 1024"]
    with RedisServer(tmp_path, appendonly=True, options=options) as server, opened(server.url) as broker:
        for _ in range(500):
            broker.put(jobs(1, 500))
        server.kill()
        starting = Thread(target=server.start)
        starting.start()
        said = set()
        while starting.is_alive():
            try:
                broker.inspector.counts()
            except BrokerUnavailable as error:
                said.add(str(error))
        starting.join()
        assert any("loading" in each for each in said), said
        assert broker.inspector.counts() == {("default", State.READY): 500}


@pytest.mark.parametrize("kind", ["tls", "unix"])
def test_other_ways_to_a_server(kind: str, tmp_path: Path) -> None:
    with RedisServer(tmp_path, tls=True) as server, opened(server.tls_url if kind == "tls" else server.unix_url) as broker:
        consumer, listener = broker.consumer(["default"], lease=30), broker.results.listen()
        ids = broker.put(jobs(3, 300_000))
        listener.watch(ids[:1])
        assert drain(broker, consumer, 3) == ids
        [result] = listener.wait(2)
        assert (result.id, result.state) == (ids[0], State.SUCCEEDED)
        server.freeze()
        refused(broker.inspector.counts)
        server.thaw()
        assert [each and each.state for each in broker.results.get(ids)] == [State.SUCCEEDED] * 3
        listener.close()
        consumer.close()


def test_a_server_whose_certificate_nobody_vouches_for(tmp_path: Path) -> None:
    with RedisServer(tmp_path, tls=True) as server, opened(server.tls_url.partition("?")[0]) as broker:
        assert "certificate" in str(refused(broker.inspector.counts))


def test_a_forked_child_uses_the_broker_too(server: RedisServer) -> None:
    """Parent and child put at the same time, after either has: none takes the other's put for one of its own."""
    with opened(server.url) as broker:
        mine = broker.put(jobs(3))
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                for _ in range(50):
                    assert len(broker.put(jobs(1, queue="child"))) == 1
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)
        for _ in range(50):
            mine += broker.put(jobs(1))
        assert os.waitpid(pid, 0)[1] == 0
        counts = broker.inspector.counts()
        assert counts == {("default", State.READY): 53, ("child", State.READY): 50}
        consumer = broker.consumer(["default"], lease=30)
        assert drain(broker, consumer, 53) == mine
        consumer.close()


def test_threads_that_put_at_once(server: RedisServer) -> None:
    """Puts that overtake each other on their ways are not taken for puts that were made before."""

    def put(broker: Broker) -> list[str]:
        return [job_id for _ in range(100) for job_id in broker.put(jobs(1))]

    with opened(server.url) as broker, ThreadPoolExecutor(8) as threads:
        ids = [job_id for made in threads.map(put, [broker] * 8) for job_id in made]
        assert len(set(ids)) == 800
        assert broker.inspector.counts() == {("default", State.READY): 800}
