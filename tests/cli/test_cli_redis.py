"""`longboat doctor` on Redis servers, as a user meets it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rigs.cli import Shell, project
from tests.rigs.servers.redis import RedisServer, available

MISSING = available()
pytestmark = [pytest.mark.slow, pytest.mark.skipif(MISSING is not None, reason=MISSING or "")]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path / "redis", password="secret") as server:
        yield server


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return project(tmp_path)


def test_the_document_holds_what_was_found(shell: Shell, server: RedisServer) -> None:
    server.command("CONFIG", "SET", "maxmemory", "100mb", "maxmemory-policy", "allkeys-lru")
    shell.run("enqueue", "tasks.add", "1", "2", "--url", server.url)
    done = shell.run("doctor", "--json", "--url", server.url)
    assert "secret" not in done.out + done.err
    found = json.loads(done.out)
    assert found["healthy"] is True
    facts, said = found["facts"], " ".join(problem["what"] for problem in found["problems"])
    assert facts["server"].startswith("redis ")
    assert facts["broker"]["answered_in"] > 0
    assert facts["queues"] == {"default": {"ready": 1}}
    assert facts["extras"]["redis"] is True
    assert "maxmemory-policy allkeys-lru" in said
    assert "writes nothing to its disk" in said
    assert all(problem["advice"] and not problem["serious"] for problem in found["problems"])


def test_what_is_serious_is_status_5_and_said_once(shell: Shell, server: RedisServer) -> None:
    refused = shell.run("doctor", "--url", f"redis://:wrong@127.0.0.1:{server.port}/0", status=5)
    assert "refuses these credentials" in refused.out
    assert "wrong" not in refused.out.replace("WRONGPASS", "")
    server.stop()
    gone = shell.run("doctor", "--url", server.url, status=5)
    assert "cannot be worked with" in gone.out
    assert gone.out.count("PROBLEM") == 1
    assert gone.out.endswith("unhealthy\n")
    shell.fails("queues", "--url", server.url, status=4)
