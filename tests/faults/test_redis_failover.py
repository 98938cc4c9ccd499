"""A Redis server becomes the replica of another, and keeps its connections: nobody stays with it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rigs.fault import Yard, until
from tests.rigs.redis import clients, jobs, refused, stubborn
from tests.rigs.servers.redis import RedisServer, available
from tests.rigs.tcp_proxy import HOST, Proxy

pytestmark = [pytest.mark.slow, pytest.mark.skipif(available() is not None, reason=str(available()))]

SAID = b"-READONLY You can't"
SAID_BY_6 = b"-ERR Error running script (call to f_0123456789): @user_script:1: @user_script: 1: -READONLY You can't"


class Pair:
    """Two servers, and the address that leads to the one that writes."""

    def __init__(self, old: RedisServer, new: RedisServer, proxy: Proxy) -> None:
        self.old = old
        self._new = new
        self._proxy = proxy
        self.url = f"redis://{HOST}:{proxy.port}/0"

    def fail_over(self) -> None:
        self.demote()
        self.lead_to_new()

    def demote(self) -> None:
        until(self._replicated, 10)
        self._new.command("REPLICAOF", "NO", "ONE")
        self.old.command("REPLICAOF", HOST, self._new.port)
        until(lambda: self.old.info("replication")["master_link_status"] == "up", 10)

    def _replicated(self) -> bool:
        """Whether the replica has all that was written so far; WAIT tells only of what its own connection wrote."""
        found = self.old.info("replication")
        return f"state=online,offset={found['master_repl_offset']}," in found.get("slave0", "")

    def lead_to_new(self) -> None:
        self._proxy.lead_to(self._new.port)

    def all_have_left(self) -> None:
        """But for the connection that asks, and the one to its master."""

        def left() -> bool:
            clients = self.old.command("CLIENT", "LIST", "TYPE", "normal")
            return sum("cmd=client|list" not in line for line in clients.splitlines()) == 0

        until(left, 10, lambda: str(self.old.command("CLIENT", "LIST")))


@pytest.fixture(params=["7", "6.2"])
def pair(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Pair]:
    with RedisServer(tmp_path / "old") as old, Proxy(old.port) as proxy:
        if request.param == "6.2":
            proxy.change = lambda answer: answer.replace(SAID, SAID_BY_6)
        with RedisServer(tmp_path / "new", options=[f"replicaof {HOST} {old.port}"]) as new:
            yield Pair(old, new, proxy)


def test_callers_reach_the_new_master(pair: Pair) -> None:
    with clients(pair.url) as each:
        pair.demote()
        for _ in range(2):
            assert "read-only replica" in str(refused(lambda: each.broker.put(jobs(1))))
        pair.lead_to_new()
        each.dead_connections_are_told()
        each.all_work()
        pair.all_have_left()


def test_nothing_is_refused_once_the_address_leads_to_the_new_master(pair: Pair) -> None:
    with clients(pair.url) as each:
        pair.fail_over()
        each.broker.put(jobs(1, queue="later"))
        assert each.consumer.extend().alive


@pytest.mark.parametrize("busy", [True, False], ids=["busy", "idle"])
def test_a_worker_goes_on_with_the_new_master(pair: Pair, tmp_path: Path, busy: bool) -> None:
    """What runs meanwhile runs once; the outage is told once."""
    with Yard(tmp_path, url=pair.url) as yard:
        tree = yard.start("--concurrency=20", "--lease=5s")
        [worker] = tree.up()
        yard.enqueue_many("nap", 20 if busy else 1, 3.0 if busy else 0.0)
        yard.until_started(20 if busy else 1)
        if not busy:
            yard.until_over(10)
        pair.fail_over()
        handle = stubborn(lambda: yard.task("nap").enqueue(0.0))
        yard.check.acknowledged.append(handle.id)
        yard.until_over(20)
        pair.all_have_left()
        assert tree.workers() == [worker]
        assert tree.said().count("the broker fails") <= 1, tree.said()
        assert tree.stop() == 0
        yard.check.sound()
