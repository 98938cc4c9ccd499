"""The spool through real outages: servers and programs are killed, and every acknowledged job is there once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from longboat import Longboat
from longboat.client import relay as relays
from longboat.client import spool as spools
from longboat.client.kept import Summary, summaries
from longboat.contract.broker import Settlement
from longboat.core.codec import decode
from longboat.core.job import Done
from tests.rigs.fault import until
from tests.rigs.servers import postgres, rabbitmq, redis
from tests.rigs.servers.process import ServerProcess

pytestmark = pytest.mark.slow

SERVERS: dict[str, tuple[Callable[[Path], ServerProcess] | None, Callable[[], str | None]]] = {
    "redis": (lambda folder: redis.RedisServer(folder, appendonly=True), redis.available),
    "postgres": (lambda folder: postgres.PostgresServer(folder), postgres.available),
    "rabbitmq": (None, rabbitmq.available),
    "rabbitmq with a store": (None, rabbitmq.available),
}

PROGRAM = """
import sys, time
from longboat import Longboat

url, spool, first = sys.argv[1:]
app = Longboat(url, spool=spool)
@app.task(name="send")
def send(order: int) -> None: ...
for order in range(int(first), int(first) + 100_000):
    send.enqueue(order=order)
    print(order, flush=True)
    time.sleep(0.002)
"""


def program(url: str, spool: str, first: int) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", PROGRAM, url, spool, str(first)], stdout=subprocess.PIPE, text=True)


def ended(process: subprocess.Popen[str]) -> list[int]:
    """Kill it; what it was told is stored."""
    os.kill(process.pid, signal.SIGKILL)
    lines = process.communicate()[0].splitlines(keepends=True)
    return [int(line) for line in lines if line.endswith("\n")]


@pytest.mark.parametrize("kind", SERVERS)
def test_every_acknowledged_job_is_there_once(
    kind: str,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    monkeypatch.setattr(relays, "LEASE", 2.0)
    monkeypatch.setattr(spools, "LOOK", 0.5)
    make, available = SERVERS[kind]
    if reason := available():
        pytest.skip(reason)
    spool = f"sqlite:///{tmp_path}/spool.db"
    with ExitStack() as programs:
        server: Any = (
            programs.enter_context(make(tmp_path_factory.mktemp("server")))
            if make
            else request.getfixturevalue("rabbitmq_server")
        )

        def started(first: int) -> subprocess.Popen[str]:
            made = programs.enter_context(program(url, spool, first))
            programs.callback(made.kill)
            return made

        url = server.url if make else f"{server.url}?prefix={tmp_path.name}"
        if kind == "rabbitmq with a store":
            url += f"&results=sqlite:///{tmp_path}/store.db"
        with Longboat(url, spool=spool) as app:
            app.send("send", order=-1)  # makes its tables and queues
            two = [started(0), started(1_000_000)]
            time.sleep(1.5)
            server.kill()
            until(lambda: jobs_in(spool) > 20, 30)
            acknowledged = ended(two.pop())
            two.append(started(2_000_000))  # it begins while the broker is away
            time.sleep(1.0)
            server.start()
            time.sleep(0.2)
            acknowledged += ended(two[1])  # perhaps while it relays
            until(lambda: jobs_in(spool) < 20 or two[0].poll() is not None, 30)
            acknowledged += ended(two[0])
            app.send("send", order=-2)
            until(lambda: jobs_in(spool) == 0, 60)
            got = received(app)
    assert set(acknowledged) <= set(got), "lost"
    assert len(acknowledged) > 40
    if kind == "rabbitmq":  # it knows no ids: a put whose answer was lost is made again
        assert sum(n - 1 for n in got.values()) <= 200
    else:
        assert max(got.values()) == 1, "twice"


def jobs_in(spool: str) -> int:
    return sum(each.jobs for each in summaries(spool, None) if isinstance(each, Summary))


def received(app: Longboat) -> Counter[int]:
    found: Counter[int] = Counter()
    consumer = app.broker.consumer(["default"], lease=60)
    while leases := consumer.receive(500, wait=3):
        found.update(int(decode(lease.job.payload)["order"]) for lease in leases)
        consumer.settle([Settlement(lease, Done(b"\xc0")) for lease in leases])
    consumer.close()
    return found
