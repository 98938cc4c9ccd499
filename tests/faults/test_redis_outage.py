"""A Redis server that is gone, stands still, or comes back: calls fail in time, workers live and go on, nothing is lost."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from longboat.core.job import State
from tests.rigs.fault import Tree, Yard, until
from tests.rigs.redis import clients, jobs, opened, stubborn
from tests.rigs.servers.redis import RedisServer, available
from tests.rigs.tcp_proxy import Proxy

pytestmark = [pytest.mark.slow, pytest.mark.skipif(available() is not None, reason=str(available()))]

FOUND_AGAIN = 2.0
"""Seconds after the server's return within which a worker works again."""
KILLS = 5
SLACK = 1.0
"""Seconds more: this machine may have to start the server and run the tests at once."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path / "redis", appendonly=True) as made:
        yield made


def test_calls_while_the_server_is_down(server: RedisServer) -> None:
    with clients(server.url) as each:
        server.kill()
        each.all_are_refused()
        server.start()
        each.all_work()


def test_calls_while_the_server_stands_still(server: RedisServer) -> None:
    with clients(server.url) as each:
        server.freeze()
        each.all_are_refused()
        each.all_are_refused()  # by new connections, this time
        server.thaw()
        each.all_work()


def test_a_restart_that_nobody_saw(server: RedisServer) -> None:
    """What may be sent twice works at once; a call that waits or settles tells of the dead connection once at most."""
    with clients(server.url) as each:
        server.restart()
        ids = each.broker.put(jobs(2))
        assert [view and view.id for view in each.broker.inspector.find(ids)] == ids
        each.broker.inspector.cancel(ids)
        each.dead_connections_are_told()
        each.all_work()


def test_half_open_connections(server: RedisServer) -> None:
    with Proxy(server.port) as proxy, clients(f"redis://127.0.0.1:{proxy.port}/0") as each:
        proxy.pause()
        each.all_are_refused()
        proxy.resume()
        each.all_work()


def test_half_open_connections_that_are_cut_in_the_end(server: RedisServer) -> None:
    with Proxy(server.port) as proxy, clients(f"redis://127.0.0.1:{proxy.port}/0") as each:
        proxy.pause()
        each.all_are_refused()
        proxy.cut()
        proxy.resume()
        each.all_work()


def is_at_work(yard: Yard, tree: Tree) -> float:
    """Seconds until something ends that is enqueued now."""
    began = time.monotonic()
    handle = stubborn(lambda: yard.task("nap").enqueue(0.0))
    yard.check.acknowledged.append(handle.id)
    until(lambda: f"end {handle.id} " in yard.log.read_text(), 10, tree.said)
    return time.monotonic() - began


def test_a_worker_outlives_what_becomes_of_the_server(server: RedisServer, tmp_path: Path) -> None:
    with Yard(tmp_path, url=server.url) as yard:
        tree = yard.start("--concurrency=20", "--lease=5s")
        [worker] = tree.up()
        faults = {"restart": server.stop, "kill": server.kill, "freeze": server.freeze}
        for n, (fault, begin) in enumerate(faults.items(), 1):
            ended = yard.log.read_bytes().count(b"end ")
            yard.enqueue_many("nap", 1000, 0.02)
            yard.until_ended(ended + 100, 20)
            begin()
            until(lambda: tree.said().count("the broker fails") == n, 10, tree.said)  # noqa: B023  # it is called at once
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


def test_kills_in_the_middle_of_everything(server: RedisServer, tmp_path: Path) -> None:
    """The client and the worker go on while the server is killed under them, again and again."""
    with Yard(tmp_path, url=server.url) as yard, ThreadPoolExecutor(1) as client:
        tree = yard.start("--concurrency=50", "--lease=5s")
        [worker] = tree.up()
        putting = client.submit(put_stubbornly, yard, 150, 20)
        for kill in range(1, KILLS + 1):
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
