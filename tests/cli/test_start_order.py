"""Workers, dashboards and published stores that are started before their broker, its user or its database."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.rigs.cli import COMMAND, Shell, project
from tests.rigs.dashboard import TOKEN
from tests.rigs.fault import until
from tests.rigs.servers import postgres, rabbitmq, redis
from tests.rigs.servers.postgres import PostgresServer
from tests.rigs.servers.rabbitmq import RabbitmqServer
from tests.rigs.servers.redis import RedisServer

pytestmark = pytest.mark.slow

WAITING = "waiting for the broker"
PATIENT = {
    "LONGBOAT_WORKER_WAIT_FOR_BROKER": "60s",
    "LONGBOAT_DASHBOARD_WAIT_FOR_BROKER": "60s",
    "LONGBOAT_DASHBOARD_TOKEN": TOKEN,
}
READY = {"worker": "serves", "dashboard": "dashboard of"}


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return project(tmp_path)


class Started:
    """A command, and what it says."""

    def __init__(self, shell: Shell, url: str, *command: str) -> None:
        self._log = shell.folder / f"{command[0]}.log"
        with self._log.open("wb") as log:
            environment = shell.environment({"PYTHONUNBUFFERED": "1", "LONGBOAT_URL": url, **PATIENT})
            self.process = subprocess.Popen([*COMMAND, *command], cwd=shell.folder, env=environment, stdout=log, stderr=log)

    @property
    def said(self) -> str:
        return self._log.read_text()


@pytest.fixture
def start(shell: Shell) -> Iterator[Callable[[str], list[Started]]]:
    started: list[Started] = []

    def start(url: str) -> list[Started]:
        started.extend(Started(shell, url, *command) for command in (("worker", "tasks:app"), ("dashboard", "--port", "0")))
        return started

    yield start
    for each in started:
        each.process.terminate()
        each.process.wait(60)  # its server has gone: a worker gives its jobs up after its grace


def skipped_without(server: object) -> pytest.MarkDecorator:
    reason = server.available()  # type: ignore[attr-defined]  # each of these modules has it
    return pytest.mark.skipif(reason is not None, reason=str(reason))


def all_say(started: list[Started], words: Callable[[str], str], within: float = 30.0) -> None:
    names = "worker", "dashboard"
    until(
        lambda: all(words(name) in each.said for name, each in zip(names, started, strict=True)),
        within,
        lambda: "\n".join(each.said for each in started),
    )


@skipped_without(redis)
def test_a_server_that_starts_later(tmp_path: Path, start: Callable[[str], list[Started]]) -> None:
    (folder := tmp_path / "server").mkdir()
    server = RedisServer(folder)
    started = start(server.url)
    all_say(started, lambda _: WAITING)
    with server:
        all_say(started, READY.__getitem__)


@skipped_without(postgres)
def test_a_database_that_is_made_later(tmp_path: Path, start: Callable[[str], list[Started]]) -> None:
    (folder := tmp_path / "server").mkdir()
    with PostgresServer(folder) as server:
        started = start(server.url.replace("/postgres", "/shop"))
        all_say(started, lambda _: 'database "shop" does not exist')
        server.query("CREATE DATABASE shop")
        all_say(started, READY.__getitem__)


@skipped_without(rabbitmq)
def test_a_user_and_a_virtual_host_that_are_made_later(tmp_path: Path, start: Callable[[str], list[Started]]) -> None:
    (folder := tmp_path / "server").mkdir()
    with RabbitmqServer(folder) as server:
        started = start(server.url.replace("guest:guest", "shop:secret") + "shop")
        all_say(started, lambda _: WAITING)
        for command in (
            ["add_vhost", "shop"],
            ["add_user", "shop", "secret"],
            ["set_permissions", "-p", "shop", "shop", *[".*"] * 3],
        ):
            server.ctl(*command)
        all_say(started, READY.__getitem__, 60)
        assert "secret" not in "".join(each.said for each in started)
        for each in started:
            each.process.terminate()
            each.process.wait(60)


def test_who_waits_can_be_stopped_and_gives_up_in_time(shell: Shell, start: Callable[[str], list[Started]]) -> None:
    nowhere = "redis://127.0.0.1:1/0"
    started = start(nowhere)
    all_say(started, lambda _: WAITING)
    started[0].process.terminate()
    assert started[0].process.wait(10) == 0
    for command in (("worker", "tasks:app"), ("dashboard", "--port", "0")):
        done = shell.run(*command, "--wait-for-broker", "2s", status=4, env={"LONGBOAT_URL": nowhere})
        assert WAITING in done.err
        assert "Error: " in done.err
        assert WAITING not in shell.run(*command, "--wait-for-broker", "0", status=4, env={"LONGBOAT_URL": nowhere}).err
