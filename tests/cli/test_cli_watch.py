"""`events`, `workers`, `top` and `check` beside a real worker; its health port, its JSON log, and what systemd is told."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.rigs.cli import Shell, project

pytestmark = pytest.mark.slow


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    made = project(tmp_path)
    made.run("enqueue", "tasks.add", "0", "0")
    return made


class Running:
    """A command that goes on, and its lines so far."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    def wait_for(self, text: str) -> str:
        due = time.monotonic() + 20
        while not (found := [line for line in list(self.lines) if text in line]):
            assert time.monotonic() < due, (text, self.lines)
            time.sleep(0.02)
        return found[0]

    def end(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        status = self.process.wait(30)
        self._thread.join()
        assert self.process.stdout is not None
        self.process.stdout.close()
        return status


@contextmanager
def running(shell: Shell, *arguments: str, env: dict[str, str] | None = None) -> Iterator[Running]:
    made = Running(shell.start(*arguments, env=env))
    try:
        yield made
    finally:
        made.end()


def free_ports(count: int) -> int:
    """The first of so many free ports in a row."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as first:
            port: int = first.getsockname()[1]
        try:
            for place in range(count):
                socket.create_server(("127.0.0.1", port + place)).close()
        except OSError:
            continue
        return port


def test_events_of_callers_and_workers_are_shown(shell: Shell) -> None:
    with running(shell, "events", "--json") as shown, running(shell, "worker", "tasks:app") as worker:
        worker.wait_for("tasks known")
        deadline = time.monotonic() + 20
        while not any("job.succeeded" in line for line in shown.lines):
            shell.run("enqueue", "tasks.add", "1", "2")
            time.sleep(0.5)
            assert time.monotonic() < deadline, shown.lines
        job_id = shell.run("enqueue", "tasks.boom", '"mine"').out.strip()
        of_job: list[dict[str, Any]] = []
        while len(of_job) < 3:
            assert time.monotonic() < deadline + 20, shown.lines
            time.sleep(0.05)
            said = [json.loads(line) for line in list(shown.lines)]
            of_job = sorted((each for each in said if each.get("id") == job_id), key=lambda each: each["at"])
        assert [each["kind"] for each in of_job] == ["job.enqueued", "job.started", "job.died"]
        assert of_job[-1]["failure"]["message"] == "mine"
    assert shown.process.returncode == 130


def test_workers_and_top_show_a_worker(shell: Shell) -> None:
    assert shell.run("workers").out == "no workers\n"
    with running(shell, "worker", "tasks:app", "-q", "default,slow", "-n", "2") as worker:
        worker.wait_for("tasks known")
        shell.run("enqueue", "tasks.sleep", "20")
        due = time.monotonic() + 20
        records: list[dict[str, Any]] = []
        while not any(record["running"] for record in records):
            assert time.monotonic() < due, records
            records = [json.loads(line) for line in shell.run("workers", "--json").out.splitlines()]
        assert len(records) == 2
        assert all(record["queues"] == ["default", "slow"] for record in records)
        (job,) = next(record["running"] for record in records if record["running"])
        assert job[1] == "tasks.sleep"
        table = shell.run("workers").out.splitlines()
        assert table[0].split() == ["name", "state", "queues", "running", "slots", "ended", "memory", "up", "version"]
        assert len(table) == 3
        text = shell.run("top", "--once").out
        assert "workers: 2" in text
        assert "tasks.add" in text
        drawn, status = shell.on_terminal("top", "--once")
        assert status == 0
        assert "tasks, rates of 10 s" in drawn
        worker.process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        worker.process.send_signal(signal.SIGTERM)


def test_check_is_a_probe(shell: Shell) -> None:
    port = free_ports(2)
    assert "no worker of" in shell.fails("check", status=5).err
    assert "nothing answers" in shell.fails("check", "--health-port", str(port), status=5).err
    options = "tasks:app", "-n", "2", "--health-port", str(port), "--log-format", "json"
    with running(shell, "worker", *options) as worker:
        for each in (port, port + 1):
            worker.wait_for(f"http://127.0.0.1:{each}")
            assert shell.run("check", "--health-port", str(each)).out == "ok\n"
            assert shell.run("check", "--ready", env={"LONGBOAT_WORKER_HEALTH_PORT": str(each)}).out == "ok\n"
        assert "worker process" in shell.run("check").out
        assert all(json.loads(line)["text"] for line in worker.lines)
        started = json.loads(worker.wait_for("tasks known"))
        assert started["event"]["kind"] == "worker.started"
        worker.process.send_signal(signal.SIGTERM)
        assert worker.process.wait(20) == 0
    assert "no worker of" in shell.fails("check", status=5).err


def test_check_of_a_broker_that_cannot_be_reached(shell: Shell) -> None:
    assert shell.fails("check", "--url", "sqlite:////nowhere/at/all.db", status=5).err


def test_systemd_is_told(shell: Shell) -> None:
    path = f"{shell.folder}/notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(path)
        sock.settimeout(20)
        with running(shell, "worker", "tasks:app", env={"NOTIFY_SOCKET": path}) as worker:
            heard = []
            while "READY=1" not in heard or "WATCHDOG=1" not in heard:
                heard.append(sock.recv(100).decode())
            worker.process.send_signal(signal.SIGTERM)
            while heard[-1] != "STOPPING=1":
                heard.append(sock.recv(100).decode())
            assert worker.process.wait(20) == 0
        assert os.path.exists(path)


def test_top_goes_on_and_ends_by_ctrl_c(shell: Shell) -> None:
    with running(shell, "top", "--every", "200ms") as top:
        due = time.monotonic() + 20
        while sum("queues of" in line for line in top.lines) < 3:
            assert time.monotonic() < due, top.lines
            time.sleep(0.02)
    assert top.process.returncode == 130
