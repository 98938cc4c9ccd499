"""A standby takes the place of a PostgreSQL server that lives on, read-only: nobody stays with the old one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from longboat.core.job import State
from longboat.errors import BrokerUnavailable
from tests.rigs.fault import Yard, until
from tests.rigs.redis import Clients, clients, jobs, opened, refused, stubborn
from tests.rigs.servers.postgres import PostgresServer, available
from tests.rigs.tcp_proxy import HOST, Proxy

pytestmark = [pytest.mark.slow, pytest.mark.skipif(available() is not None, reason=str(available()))]


class Pair:
    """Two servers, and the address that leads to the one that writes."""

    def __init__(self, old: PostgresServer, new: PostgresServer, proxy: Proxy) -> None:
        self.old = old
        self._new = new
        self._proxy = proxy
        self.url = f"postgresql://longboat@{HOST}:{proxy.port}/postgres"

    def demote(self) -> None:
        """The old server writes no more. Its connections stay open."""
        self.old.query("ALTER SYSTEM SET default_transaction_read_only = on")
        self.old.query("SELECT pg_reload_conf()")
        until(lambda: self.old.query("SHOW default_transaction_read_only") == "on", 10)

    def promote(self) -> None:
        end = self.old.query("SELECT pg_current_wal_lsn()")
        until(lambda: self._new.query(f"SELECT pg_last_wal_replay_lsn() >= '{end}'") == "t", 10)
        assert self._new.query("SELECT pg_promote()") == "t"
        self._proxy.lead_to(self._new.port)

    def connections(self, server: PostgresServer) -> int:
        return int(server.query("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'longboat'"))

    def all_have_left(self) -> None:
        until(lambda: self.connections(self.old) == 0, 10, lambda: "somebody stays with the old server")


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    with (
        PostgresServer(tmp_path / "old") as old,
        PostgresServer(tmp_path / "new", of=old) as new,
        Proxy(old.port) as proxy,
    ):
        yield Pair(old, new, proxy)


def all_work(each: Clients) -> None:
    """Those that wait on a connection of their own tell of it, once at most."""
    each.dead_connections_are_told()
    each.all_work()


def test_callers_reach_the_new_server(pair: Pair) -> None:
    with clients(pair.url) as each:
        pair.demote()
        pair.promote()
        each.broker.put(jobs(1, queue="later"))
        all_work(each)
        pair.all_have_left()


def test_who_only_looks_reaches_the_new_server(pair: Pair) -> None:
    with opened(pair.url) as looking, opened(pair.url) as putting:
        putting.put(jobs(1))
        looking.inspector.counts()
        pair.demote()
        looking.inspector.counts()
        pair.promote()
        putting.put(jobs(1))
        assert looking.inspector.counts() == {("default", State.READY): 2}
        pair.all_have_left()


def test_while_no_server_writes_puts_are_refused(pair: Pair) -> None:
    with clients(pair.url) as each:
        pair.demote()
        for _ in range(2):
            assert "read-only" in str(refused(lambda: each.broker.put(jobs(1)), BrokerUnavailable))
        pair.promote()
        all_work(each)


@pytest.mark.parametrize("busy", [True, False], ids=["busy", "idle"])
def test_a_worker_goes_on_with_the_new_server(pair: Pair, tmp_path: Path, busy: bool) -> None:
    """What runs meanwhile runs once; the outage is told once."""
    with Yard(tmp_path, url=pair.url) as yard:
        tree = yard.start("--concurrency=20", "--lease=5s")
        [worker] = tree.up()
        yard.enqueue_many("nap", 20 if busy else 1, 3.0 if busy else 0.0)
        yard.until_started(20 if busy else 1)
        if not busy:
            yard.until_over(10)
        pair.demote()
        until(lambda: "the broker fails" in tree.said() or not busy, 10, tree.said)
        pair.promote()
        handle = stubborn(lambda: yard.task("nap").enqueue(0.0))
        yard.check.acknowledged.append(handle.id)
        yard.until_over(20)
        pair.all_have_left()
        assert tree.workers() == [worker]
        assert tree.said().count("the broker fails") <= 1, tree.said()
        assert tree.stop() == 0
        yard.check.sound()
