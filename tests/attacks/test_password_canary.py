"""A password that contains every kind of character must not appear in any output, whether the server is there or not."""

from __future__ import annotations

import re
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import pytest

from longboat.brokers.manager import Server
from longboat.brokers.memory import MemoryBroker
from tests.rigs.cli import COMMAND, Shell, project
from tests.rigs.dashboard import TOKEN
from tests.rigs.servers import postgres, rabbitmq, redis
from tests.rigs.servers.postgres import PostgresServer
from tests.rigs.servers.process import free_ports
from tests.rigs.servers.rabbitmq import RabbitmqServer
from tests.rigs.servers.redis import RedisServer

pytestmark = pytest.mark.slow
needs_redis = pytest.mark.skipif(redis.available() is not None, reason=str(redis.available()))

CANARY = "canary"
PASSWORD = f"{CANARY}/a?b=c#d@e:f%[{CANARY}]&g"
ESCAPED = quote(PASSWORD, safe="")
TRACED = """
import tasks
from longboat.otel import OpenTelemetry
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter()))
trace.set_tracer_provider(provider)
tasks.app.add_middleware(OpenTelemetry())
try:
    tasks.add.enqueue(1, 2)
finally:
    print("traced")
"""
COMMANDS = [
    ["worker", "tasks:app", "--burst", "--log-level", "debug"],
    ["worker", "tasks:app", "--burst", "--log-format", "json"],
    ["enqueue", "tasks.add", "1", "2"],
    ["queues"],
    ["jobs", "list", "--json"],
    ["doctor"],
    ["doctor", "--json"],
    ["top", "--once"],
    ["workers"],
    ["check"],
    ["bench", "--jobs", "10"],
    ["explain", "nothing"],
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis"), password=PASSWORD) as server:
        yield server


def urls(server: RedisServer) -> dict[str, str]:
    escaped = ESCAPED
    at = f"127.0.0.1:{server.port}"
    return {
        "wrong password": f"redis://:{escaped}x@{at}/0",
        "nobody there": f"redis://me:{escaped}@127.0.0.1:1/0",
        "not escaped": f"redis://:{PASSWORD}@{at}/0",
        "as an option": f"redis://{at}/0?password={escaped}",
        "without an @": f"redis://:{CANARY}/{at}",
        "as the user": f"redis://{CANARY}@{at}/0",
        "in a store": f"amqp://me:{escaped}@127.0.0.1:1/?results=redis://:{escaped}@{at}/0",
        "of the management": f"amqp://127.0.0.1:1/?management={quote(f'http://me:{escaped}@{at}', safe='')}",
        "of a manager": f"manager://:{escaped}@127.0.0.1:1",
        "libpq's": f"postgresql://me@127.0.0.1:1/db?password={escaped}&sslpassword={CANARY}",
    }


class Place(NamedTuple):
    """A server with a password, what leads to it and what does not, and how it goes."""

    right: dict[str, str]
    wrong: dict[str, str]
    stop: Callable[[], None]


def redis_place(folder: Path, until: ExitStack) -> Place:
    server = until.enter_context(RedisServer(folder, password=PASSWORD))
    return Place({"LONGBOAT_URL": server.url}, {"LONGBOAT_URL": urls(server)["wrong password"]}, server.stop)


def postgres_place(folder: Path, until: ExitStack) -> Place:
    server = until.enter_context(PostgresServer(folder))
    server.query(f"CREATE ROLE shop LOGIN SUPERUSER PASSWORD '{PASSWORD}'")
    lines = ("host all longboat 127.0.0.1/32 trust", "host all all 127.0.0.1/32 scram-sha-256")
    (folder / "data" / "pg_hba.conf").write_text("\n".join(lines) + "\n")
    server.query("SELECT pg_reload_conf()")
    url = f"postgresql://shop:{ESCAPED}{{}}@127.0.0.1:{server.port}/postgres"
    return Place({"LONGBOAT_URL": url.format("")}, {"LONGBOAT_URL": url.format("x")}, server.stop)


def rabbitmq_place(folder: Path, until: ExitStack) -> Place:
    server = until.enter_context(RabbitmqServer(folder))
    server.ctl("add_user", "shop", PASSWORD)
    server.ctl("set_permissions", "-p", "/", "shop", ".*", ".*", ".*")
    url = f"amqp://shop:{ESCAPED}{{}}@127.0.0.1:{server.port}/?management=http://127.0.0.1:1"
    return Place({"LONGBOAT_URL": url.format("")}, {"LONGBOAT_URL": url.format("x")}, server.stop)


def manager_place(_: Path, until: ExitStack) -> Place:
    (port,) = free_ports(1)
    key = f"{PASSWORD} of at least 32 bytes"
    server = until.enter_context(Server(MemoryBroker(), ("127.0.0.1", port), key.encode()))
    right = {"LONGBOAT_URL": f"manager://127.0.0.1:{port}", "LONGBOAT_AUTHKEY": key}
    return Place(right, {**right, "LONGBOAT_AUTHKEY": f"{key}x"}, server.close)


PLACES = [
    pytest.param(redis_place, id="redis", marks=needs_redis),
    pytest.param(
        postgres_place,
        id="postgres",
        marks=pytest.mark.skipif(postgres.available() is not None, reason=str(postgres.available())),
    ),
    pytest.param(
        rabbitmq_place,
        id="rabbitmq",
        marks=pytest.mark.skipif(rabbitmq.available() is not None, reason=str(rabbitmq.available())),
    ),
    pytest.param(manager_place, id="manager"),
]


def said_by(shell: Shell, environment: dict[str, str], commands: list[list[str]]) -> dict[str, str]:
    """What each of these commands says, and a traced program; none of them says nothing when it fails."""
    (shell.folder / "traced.py").write_text(TRACED)
    lines = [[*COMMAND, *command] for command in commands] + [[COMMAND[0], "traced.py"]]
    running = [
        subprocess.Popen(
            line,
            cwd=shell.folder,
            env=shell.environment(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for line in lines
    ]
    said: dict[str, str] = {}
    for line, process in zip(lines, running, strict=True):
        said[" ".join(line[1:])], _ = process.communicate(timeout=120)
        assert said[" ".join(line[1:])] or process.returncode == 0, line
    assert "traced" in said["traced.py"]
    return said


@pytest.mark.parametrize("place", PLACES)
def test_a_password_stands_in_what_is_said_of_a_server(place: Callable[[Path, ExitStack], Place], tmp_path: Path) -> None:
    shell = project(tmp_path)
    with ExitStack() as until:
        right, wrong, stop = place(tmp_path / "server", until)
        said = said_by(shell, right, COMMANDS)
        with (
            shell.start("worker", "tasks:app", "--log-level", "debug", env=right) as worker,
            shell.start("events", "--json", env=right) as events,
            shell.start("dashboard", "--port", "0", env={**right, "LONGBOAT_DASHBOARD_TOKEN": TOKEN}) as dashboard,
        ):
            try:
                shell.run("enqueue", "tasks.boom", "overboard", env=right)
                before = read_until("overboard", worker)
                link = read_until(r"http://127\.0\.0\.1:\d+/", dashboard)
                at = re.findall(r"http://127\.0\.0\.1:\d+/", link)[0]
                wrongly = said_by(shell, wrong, [COMMANDS[0], COMMANDS[2], COMMANDS[5], COMMANDS[7]])
                seen = pages(at)
                stop()
                gone = said_by(shell, right, [COMMANDS[1], COMMANDS[3], COMMANDS[6], COMMANDS[7]])
                seen_gone = pages(at)
            finally:
                for each in (worker, events, dashboard):
                    each.terminate()
            said["a worker"], said["events"] = before + worker.communicate()[0], events.communicate()[0]
            said["the dashboard"] = link + dashboard.communicate()[0]
    for case in (said, wrongly, gone, seen, seen_gone):
        assert {what: text for what, text in case.items() if CANARY in text} == {}


def read_until(pattern: str, process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    said = ""
    while not re.search(pattern, said):
        said += (line := process.stdout.readline())
        assert line, said
    return said


def pages(at: str) -> dict[str, str]:
    """None of them is empty."""
    paths = ("", "system", "jobs", "workers", "queues", "api/v1/openapi.json", "api/v1/jobs", "metrics", "readyz")
    seen = {path: page(f"{at}{path}") for path in paths}
    assert [path for path, text in seen.items() if not text] == []
    return seen


@needs_redis
@pytest.mark.parametrize("name", urls(RedisServer(Path("nowhere"))))
def test_a_password_stands_in_what_a_command_says(server: RedisServer, tmp_path: Path, name: str) -> None:
    shell = project(tmp_path)
    environment = shell.environment({"LONGBOAT_URL": urls(server)[name]})
    running = [
        subprocess.Popen(
            [*COMMAND, *command], cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for command in (COMMANDS if name == "nobody there" else COMMANDS[:1] + COMMANDS[5:7])
    ]
    for process in running:
        said, _ = process.communicate(timeout=90)
        assert said or process.returncode == 0, process.args
        assert CANARY not in said, process.args


def page(at: str) -> str:
    try:
        with urllib.request.urlopen(
            urllib.request.Request(at, headers={"authorization": f"Bearer {TOKEN}"}), timeout=20
        ) as answer:
            text: str = answer.read().decode()
            return text
    except urllib.error.HTTPError as error:
        with error:
            return error.read().decode()
