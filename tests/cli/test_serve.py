"""`longboat serve` as a user meets it: a master, a worker and a caller; its refusals; killed and started again."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from longboat import connect
from longboat.contract.broker import Settlement
from longboat.core.job import MESSAGE_VERSION, Done, Job, State, new_id
from longboat.errors import BrokerUnavailable
from longboat.testing.conformance.stage import eventually
from tests.rigs.cli import Shell, project
from tests.rigs.servers.process import free_ports

pytestmark = pytest.mark.slow

KEY = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    path = tmp_path / "key"
    path.write_text(f"{KEY}\n")
    path.chmod(0o600)
    monkeypatch.setenv("LONGBOAT_AUTHKEY", KEY)
    return project(tmp_path)


@contextmanager
def serving(shell: Shell, port: int = 0, store: str = "sqlite:///jobs.db") -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process, and the URL that it told."""
    at = f"127.0.0.1:{port}"
    process = shell.start("serve", "--bind", at, "--store", store, "--authkey-file", "key", "--json")
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line.startswith("{"), line + process.stdout.read()
        told = json.loads(line)
        assert told["store"] == store
        yield process, told["url"]
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@contextmanager
def working(shell: Shell, url: str) -> Iterator[None]:
    process = shell.start("worker", "tasks:app", "--lease", "3s", env={"LONGBOAT_URL": url, "LONGBOAT_AUTHKEY": KEY})
    try:
        yield
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        assert process.stdout is not None
        process.stdout.close()


def some(n: int) -> list[Job]:
    arguments = b"\x82\xa1a\x01\xa1b\x02"  # {"a": 1, "b": 2}
    return [Job(MESSAGE_VERSION, new_id(), "tasks.add", arguments) for _ in range(n)]


def test_a_master_a_worker_and_a_caller(shell: Shell) -> None:
    with serving(shell, store="memory://") as (process, url), working(shell, url):
        mine = {"LONGBOAT_URL": url, "LONGBOAT_AUTHKEY": KEY}
        assert shell.run("enqueue", "tasks.add", "2", "3", "--wait", env=mine).out == "5\n"
        by_file = f"{url}?authkey_file=key"
        assert shell.run("enqueue", "tasks.greet", "you", "--wait", "--url", by_file).out == "hello you\n"
        assert "succeeded" in shell.run("queues", env=mine).out
        wrong = shell.fails("queues", env={**mine, "LONGBOAT_AUTHKEY": "wrong"}, status=3)
        assert "refuses this authkey" in wrong.err
        assert "later" not in wrong.err
        shell.fails("worker", "tasks:app", env={**mine, "LONGBOAT_AUTHKEY": "wrong"}, status=3)
        missing = shell.fails("queues", "--url", url, status=3)
        assert "authkey" in missing.err
    assert process.returncode == -signal.SIGKILL


def test_term_ends_it_cleanly(shell: Shell) -> None:
    with serving(shell) as (process, url):
        broker = connect(url)
        (sent,) = broker.put(some(1))
        consumer = broker.consumer([], lease=60.0)
        assert len(consumer.receive(1, wait=1.0)) == 1
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        broker.close()
    store = connect(f"sqlite:///{shell.folder}/jobs.db")
    view = store.inspector.find([sent])[0]
    assert view is not None
    assert (view.state, view.attempts) == (State.READY, 0)
    store.close()


def test_killed_and_started_again_it_has_lost_nothing(shell: Shell) -> None:
    (port,) = free_ports(1)
    stored: list[str] = []
    with serving(shell, port) as (process, url):
        broker = connect(url)
        listener = broker.results.listen()
        stored += broker.put(some(50))
        with working(shell, url):
            eventually(lambda: any(broker.results.get(stored)), "a worker is at work", 20)
            stored += broker.put(some(500))
            held = broker.consumer(["nothing"], lease=60.0)
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            with pytest.raises(BrokerUnavailable):
                broker.put(some(1))
            with serving(shell, port):
                stored += broker.put(some(50))
                assert not held.extend().alive
                held.close()
                results: set[str] = set()
                listener.watch(stored)

                def told() -> bool:
                    results.update(result.id for result in listener.wait(0.5) if result.state is State.SUCCEEDED)
                    return len(results) == len(stored)

                eventually(told, "every job that was stored has ended", 60)
                assert results == set(stored)
        listener.close()
        broker.close()


def test_a_worker_that_dies_leaves_its_jobs_to_others(shell: Shell) -> None:
    with serving(shell) as (_, url):
        broker = connect(url)
        other = connect(url)
        (sent,) = broker.put(some(1))
        consumer = other.consumer([], lease=0.5)
        assert len(consumer.receive(1, wait=1.0)) == 1
        other.close()  # no close of the consumer: it was killed
        heir = broker.consumer([], lease=60.0)
        (lease,) = heir.receive(1, wait=10.0)
        assert (lease.job.id, lease.worker_deaths) == (sent, 1)
        heir.settle([Settlement(lease, Done(b"\xc0"))])
        heir.close()
        broker.close()


def test_what_it_refuses(shell: Shell) -> None:
    short = {"LONGBOAT_AUTHKEY": "short"}
    told = shell.fails("serve", "--bind", "0.0.0.0:0", "--store", "memory://", status=2, env=short)
    assert "5 bytes is too short" in told.err
    assert "authkey" in shell.fails("serve", "--store", "memory://", status=3).err
    assert "cannot be read" in shell.fails("serve", "--authkey-file", "none", status=3).err
    assert "no address" not in shell.fails("serve", "--bind", "5000", status=2).err
    with socket.create_server(("127.0.0.1", 0)) as taken:
        at = f"127.0.0.1:{taken.getsockname()[1]}"
        told = shell.fails("serve", "--bind", at, "--store", "memory://", "--authkey-file", "key", status=4)
        assert "cannot listen" in told.err


def test_a_key_that_others_can_read_is_warned_of(shell: Shell) -> None:
    (shell.folder / "key").chmod(0o644)
    process = shell.start("serve", "--bind", "127.0.0.1:0", "--store", "memory://", "--authkey-file", "key")
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(2)]
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0
    process.stdout.close()
    assert any("chmod 600" in line for line in lines)
    assert any(line.startswith("serving memory:// at manager://127.0.0.1:") for line in lines)
