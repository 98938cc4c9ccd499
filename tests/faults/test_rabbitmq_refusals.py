"""A RabbitMQ node that refuses for a few seconds what it grants before and after: an outage like any other."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rigs.fault import Yard, until
from tests.rigs.redis import stubborn
from tests.rigs.servers.rabbitmq import RabbitmqServer, available

pytestmark = [pytest.mark.slow, pytest.mark.skipif(available() is not None, reason=str(available()))]

ADD_USER = ["add_user", "worker", "secret"]
PERMIT = ["set_permissions", "-p", "/", "worker", ".*", ".*", ".*"]
REFUSALS = {
    "connections": (["set_vhost_limits", "-p", "/", '{"max-connections": 0}'], [["clear_vhost_limits", "-p", "/"]]),
    "permissions": (["clear_permissions", "-p", "/", "worker"], [PERMIT]),
    "user": (["delete_user", "worker"], [ADD_USER, PERMIT]),
}


class Refusing:
    """A node that can refuse its user."""

    def __init__(self, server: RabbitmqServer) -> None:
        self._server = server
        self._told = 0

    def url(self, folder: Path, *, hold: str = "1s") -> str:
        """With a store, so that jobs can be looked at. What runs for so long is kept in a queue of its consumer's own."""
        there = self._server.url.replace("guest:guest", "worker:secret")
        return f"{there}?prefix={folder.name}&hold={hold}&results=sqlite:///{folder}/store.db"

    def begin(self, kind: str, *, hangs_up: bool) -> None:
        self._told = self._refusals()
        self._server.ctl(*REFUSALS[kind][0])
        if hangs_up:
            self._server.ctl("close_all_connections", "a test")

    def until_refused(self) -> None:
        until(lambda: self._refusals() > self._told, 30)

    def end(self, kind: str) -> None:
        for command in REFUSALS[kind][1]:
            self._server.ctl(*command)

    def _refusals(self) -> int:
        logs = (self._server.folder / "logs").glob("*.log")
        return sum(log.read_text(errors="replace").count("refused") for log in logs)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Refusing]:
    with RabbitmqServer(tmp_path_factory.mktemp("rabbitmq")) as server:
        server.ctl(*ADD_USER)
        server.ctl(*PERMIT)
        yield Refusing(server)


def one_more(yard: Yard) -> None:
    handle = stubborn(lambda: yard.task("nap").enqueue(0.0))
    yard.check.acknowledged.append(handle.id)


@pytest.mark.parametrize("kind", ["connections", "permissions"])
def test_what_runs_while_its_worker_is_refused_runs_once(node: Refusing, tmp_path: Path, kind: str) -> None:
    with Yard(tmp_path, url=node.url(tmp_path, hold="5s")) as yard:
        tree = yard.start("--concurrency=4", "--lease=5s", "--queues=default")
        [worker] = tree.up()
        aside = yard.task("nap").using(queue="aside").enqueue(0.0)  # this program is connected
        # After `hold` the worker makes a connection and a queue of its own, once: it is to be refused by then.
        if kind == "connections":
            node.begin(kind, hangs_up=False)
        yard.enqueue("wait_for", f"{tmp_path}/gate")
        yard.until_started(1)
        if kind == "permissions":
            node.begin(kind, hangs_up=False)
        try:
            node.until_refused()
        finally:
            node.end(kind)
        (tmp_path / "gate").touch()
        one_more(yard)
        assert aside.cancel()
        yard.until_over(30)
        assert "were lost" not in tree.said()
        assert tree.said().count("the broker fails") <= 1, tree.said()
        assert tree.workers() == [worker]
        assert tree.stop() == 0
        yard.check.sound()


@pytest.mark.parametrize("kind", ["connections", "permissions", "user"])
def test_a_worker_that_is_hung_up_and_refused_lives_on(node: Refusing, tmp_path: Path, kind: str) -> None:
    """What it held comes back, as after any lost connection. The outage is told once."""
    with Yard(tmp_path, url=node.url(tmp_path)) as yard:
        tree = yard.start("--concurrency=4", "--lease=5s", "--queues=default")
        [worker] = tree.up()
        yard.enqueue("wait_for", f"{tmp_path}/gate")
        yard.until_started(1)
        node.begin(kind, hangs_up=True)
        try:
            until(lambda: "the broker fails" in tree.said(), 30, tree.said)
            node.until_refused()
        finally:
            node.end(kind)
        (tmp_path / "gate").touch()
        one_more(yard)
        yard.until_over(30)
        assert tree.said().count("the broker fails") == 1, tree.said()
        assert tree.workers() == [worker]
        assert tree.stop() == 0
        yard.check.all_succeeded()


def test_a_worker_process_that_starts_while_it_is_refused_is_started_again(node: Refusing, tmp_path: Path) -> None:
    """Final is a refusal only to the first one."""
    with Yard(tmp_path, url=node.url(tmp_path)) as yard:
        tree = yard.start("--lease=5s", "--queues=default", "--wait-for-broker=0")
        [worker] = tree.up()
        node.begin("user", hangs_up=False)
        os.kill(worker, signal.SIGKILL)
        until(lambda: "Error: " in tree.said(), 30, tree.said)
        node.end("user")
        tree.up(2)
        one_more(yard)
        yard.until_over(30)
        assert tree.stop() == 0
        yard.check.sound()
