"""Cluster: all keys of a queue are in one slot, which may move to another node while jobs run.

While it moves, calls are refused: a script names a key that never exists, so the server sends whoever calls it on (ASK), and
nothing is done at either end until all keys have arrived.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from longboat.core.job import State
from tests.rigs.fault import Yard, until
from tests.rigs.redis import clients, jobs, opened, refused, stubborn
from tests.rigs.servers.redis import RedisCluster, RedisServer, available

pytestmark = [pytest.mark.slow, pytest.mark.skipif(available() is not None, reason=str(available()))]


@pytest.fixture(scope="module")
def formed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisCluster]:
    with RedisCluster(tmp_path_factory.mktemp("cluster")) as made:
        yield made


@pytest.fixture
def cluster(formed: RedisCluster) -> RedisCluster:
    for node in formed.nodes:
        node.command("FLUSHALL")
    return formed


def another(cluster: RedisCluster) -> RedisServer:
    owner = owner_of(cluster)
    return next(node for node in cluster.nodes if node is not owner)


def owner_of(cluster: RedisCluster) -> RedisServer:
    return cluster.owner_of(cluster.slot_of("{longboat}:"))


def test_a_slot_moves_in_the_middle_of_a_drain(cluster: RedisCluster, tmp_path: Path) -> None:
    with Yard(tmp_path, url=cluster.url) as yard:
        yard.enqueue_many("nap", 1500, 0.01)
        tree = yard.start("--concurrency=20", "--lease=5s")
        [worker] = tree.up()
        for moves in (1, 2):
            yard.until_ended(moves * 300, 20)
            cluster.move_slot(cluster.slot_of("{longboat}:"), another(cluster))
            batch = jobs(1, queue="later")
            stubborn(lambda: yard.app.broker.put(batch, token=("client", moves)))  # noqa: B023  # it is called at once
            stubborn(lambda: yard.app.broker.inspector.cancel([batch[0].id]))  # noqa: B023  # it is called at once
        stubborn(lambda: yard.until_over(30))
        assert tree.workers() == [worker]
        assert tree.stop() == 0
        yard.check.all_succeeded()
        assert all(len(runs) == 1 for runs in yard.check.runs().values()), "no lease was lost, so none ran twice"


def test_calls_while_the_slot_moves(cluster: RedisCluster) -> None:
    slot, source, target = cluster.slot_of("{longboat}:"), owner_of(cluster), another(cluster)
    with opened(cluster.url) as broker:
        ids = broker.put(jobs(3))
        target.command("CLUSTER", "SETSLOT", slot, "IMPORTING", source.command("CLUSTER", "MYID"))
        source.command("CLUSTER", "SETSLOT", slot, "MIGRATING", target.command("CLUSTER", "MYID"))
        assert "moving to another node" in str(refused(lambda: broker.put(jobs(1))))
        refused(broker.inspector.counts)
        source.command("CLUSTER", "SETSLOT", slot, "STABLE")
        target.command("CLUSTER", "SETSLOT", slot, "STABLE")
        assert broker.inspector.counts() == {("default", State.READY): 3}
        cluster.move_slot(slot, target)
        assert [view and view.id for view in stubborn(lambda: broker.inspector.find(ids))] == ids


def test_a_node_that_stands_still(cluster: RedisCluster) -> None:
    with clients(cluster.url) as each:
        owner = owner_of(cluster)
        owner.freeze()
        each.all_are_refused()
        each.all_are_refused()
        owner.thaw()
        until(lambda: all("cluster_state:ok" in node.command("CLUSTER", "INFO") for node in cluster.nodes), 20)
        each.all_work()


def test_a_node_that_is_down(cluster: RedisCluster) -> None:
    """Another node, with none of the queue's keys, does not matter; its own does."""
    for node in cluster.nodes:
        node.command("CONFIG", "SET", "cluster-require-full-coverage", "no")
    down = another(cluster)
    down.kill()
    with opened(cluster.url) as broker:
        assert len(broker.put(jobs(1))) == 1
    down.start()
    owner = owner_of(cluster)
    with opened(cluster.url) as broker:
        broker.inspector.counts()
        owner.kill()
        refused(broker.inspector.counts)
        refused(broker.inspector.counts)
        owner.start()
        until(lambda: all("cluster_state:ok" in node.command("CLUSTER", "INFO") for node in cluster.nodes), 20)
        stubborn(lambda: broker.put(jobs(1)))
