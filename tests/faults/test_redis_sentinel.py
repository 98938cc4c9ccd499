"""Sentinel: the master dies, another takes over, and workers find it by themselves.

What is promised: what was acknowledged and had reached the replica. Replication is asynchronous, so the last writes before
a master's death may be lost with it; here the test waits for the replica (WAIT) after its puts. A settle that was lost with
the master runs its job again: at least once.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from longboat.core.job import State
from tests.rigs.fault import Yard, until
from tests.rigs.redis import jobs, opened, refused, stubborn
from tests.rigs.servers.redis import RedisSentinels, RedisServer, available

pytestmark = [pytest.mark.slow, pytest.mark.skipif(available() is not None, reason=str(available()))]


@pytest.fixture
def sentinels(tmp_path: Path) -> Iterator[RedisSentinels]:
    with RedisSentinels(tmp_path / "sentinels") as made:
        yield made


def until_in_step(sentinels: RedisSentinels) -> None:
    """All that the master has written is at the replica."""

    def at() -> tuple[str, str]:
        return sentinels.master.info("replication")["master_repl_offset"], sentinels.replica.info("replication")[
            "slave_repl_offset"
        ]

    until(lambda: len(set(at())) == 1, 10)


def test_the_master_dies_in_the_middle_of_a_drain(sentinels: RedisSentinels, tmp_path: Path) -> None:
    with Yard(tmp_path, url=sentinels.url) as yard:
        yard.enqueue_many("nap", 2000, 0.01)
        until_in_step(sentinels)
        tree = yard.start("--concurrency=20", "--lease=5s")
        [worker] = tree.up()
        yard.until_ended(200, 20)
        sentinels.master.kill()
        refused(lambda: yard.app.broker.put(jobs(1)))
        yard.check.acknowledged.append(stubborn(lambda: yard.task("nap").using(id="after").enqueue(0.0), 20).id)
        stubborn(lambda: yard.until_over(30))
        assert tree.workers() == [worker]
        assert tree.stop() == 0
        yard.check.all_succeeded()
        assert sentinels.masters() == {sentinels.replica.port}


def is_replica(server: RedisServer) -> bool:
    """Not yet, if it cuts the connection that asks because it becomes one."""
    try:
        return bool(server.info("replication")["role"] == "slave")
    except ConnectionError:
        return False


def test_a_master_that_stands_still(sentinels: RedisSentinels) -> None:
    """It comes back as a replica; connections to it find the new master."""
    with opened(sentinels.url) as broker:
        ids = broker.put(jobs(2))
        until_in_step(sentinels)
        sentinels.master.freeze()
        refused(broker.inspector.counts)
        new = jobs(1)
        assert stubborn(lambda: broker.put(new, token=("client", 1)), 20) == [new[0].id]
        sentinels.master.thaw()
        until(lambda: is_replica(sentinels.master), 20)
        assert broker.inspector.counts() == {("default", State.READY): 3}
        assert all(broker.inspector.find(ids))


def test_sentinels_that_are_gone(sentinels: RedisSentinels) -> None:
    """One is enough to find the master; with none, calls fail in time."""
    first, second, third = sentinels.sentinels
    first.freeze()
    second.kill()
    with opened(sentinels.url) as broker:
        assert len(broker.put(jobs(1))) == 1
    third.freeze()
    with opened(sentinels.url) as broker:
        refused(broker.inspector.counts)
        third.thaw()
        assert broker.inspector.counts() == {("default", State.READY): 1}
