"""A password that contains every kind of character must not appear in any output, whether the server is there or not."""

from __future__ import annotations

import re
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.rigs.cli import COMMAND, project
from tests.rigs.dashboard import TOKEN
from tests.rigs.servers.redis import RedisServer, available

pytestmark = [pytest.mark.slow, pytest.mark.skipif(available() is not None, reason=str(available()))]

CANARY = "canary"
PASSWORD = f"{CANARY}/a?b=c#d@e:f%[{CANARY}]&g"
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
    escaped = quote(PASSWORD, safe="")
    at = f"127.0.0.1:{server.port}"
    return {
        "right": server.url,
        "wrong password": f"redis://:{escaped}x@{at}/0",
        "nobody there": f"redis://me:{escaped}@127.0.0.1:1/0",
        "not escaped": f"redis://:{PASSWORD}@{at}/0",
        "as an option": f"redis://{at}/0?password={escaped}",
        "without an @": f"redis://:{CANARY}/{at}",
        "as the user": f"redis://{CANARY}@{at}/0",
        "in a store": f"amqp://me:{escaped}@127.0.0.1:1/?results=redis://:{escaped}@{at}/0",
        "libpq's": f"postgresql://me@127.0.0.1:1/db?password={escaped}&sslpassword={CANARY}",
    }


@pytest.mark.parametrize("name", urls(RedisServer(Path("nowhere"))))
def test_a_password_stands_in_what_a_command_says(server: RedisServer, tmp_path: Path, name: str) -> None:
    shell = project(tmp_path)
    environment = shell.environment({"LONGBOAT_URL": urls(server)[name]})
    running = [
        subprocess.Popen(
            [*COMMAND, *command], cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for command in (COMMANDS if name in ("right", "nobody there") else COMMANDS[:1] + COMMANDS[5:7])
    ]
    for process in running:
        said, _ = process.communicate(timeout=90)
        assert said or process.returncode == 0, process.args
        assert CANARY not in said, process.args


def test_a_password_stands_on_a_page(server: RedisServer, tmp_path: Path) -> None:
    shell = project(tmp_path)
    environment = shell.environment({"LONGBOAT_URL": server.url, "LONGBOAT_DASHBOARD_TOKEN": TOKEN})
    command = [*COMMAND, "dashboard", "--port", "0"]
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True) as started:
        assert started.stdout is not None
        said = ""
        while not (at := re.search(r"http://127\.0\.0\.1:\d+/", said)):
            said += (line := started.stdout.readline())
            assert line, said
        pages = ("", "system", "jobs", "workers", "queues", "api/v1/openapi.json", "api/v1/jobs", "metrics", "readyz")
        seen = {path: page(f"{at[0]}{path}") for path in pages}
        server.stop()
        seen |= {f"{path}, server gone": page(f"{at[0]}{path}") for path in pages}
        started.terminate()
        said += started.stdout.read()
    assert CANARY not in said
    assert len([text for text in seen.values() if text]) == len(seen)
    assert [path for path, text in seen.items() if CANARY in text] == []


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
