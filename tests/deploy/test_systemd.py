"""The units: verified by systemd itself, and each of their commands started, watched, reloaded and stopped as it would."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.deploy.deployed import (
    DEPLOY,
    GRACE,
    PATH,
    SCRIPTS,
    finishes_what_it_runs,
    passes,
    placed,
    running,
    told_to_leave,
    waiting_for,
)
from tests.rigs.waiting import until

FOLDER = DEPLOY / "systemd"
UNITS = sorted(path.name for path in FOLDER.glob("*.service"))
PROGRAM = "/srv/shop/.venv/bin/longboat"
EXPOSURE = 2.5
"""Of 10, at most: `systemd-analyze security` calls it OK. A queue has to reach the network."""

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze; on Debian: apt install systemd"
)


def settings(unit: str) -> dict[str, list[str]]:
    """All values of each setting; those of a template for the instance `mail`."""
    found: dict[str, list[str]] = {}
    for name, value in re.findall(r"^(\w+)=(.*)$", (FOLDER / unit).read_text(), re.M):
        found.setdefault(name, []).append(value.replace("%i", "mail"))
    return found


@pytest.fixture
def installed(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The unit as it is installed, with a program that is there."""
    path = tmp_path / str(request.param).replace("@", "@mail")
    path.write_text((FOLDER / request.param).read_text().replace(PROGRAM, f"{SCRIPTS}/longboat"))
    return path


@needs_systemd
@pytest.mark.parametrize("installed", UNITS, indirect=True)
def test_systemd_verifies_them(installed: Path) -> None:
    verify = ["systemd-analyze", "verify", "--man=no", str(installed)]
    done = subprocess.run(verify, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    installed.write_text(installed.read_text().replace("TimeoutStopSec", "TimeoutToStopSec"))
    assert "TimeoutToStopSec" in subprocess.run(verify, capture_output=True, text=True, check=False).stderr


@needs_systemd
@pytest.mark.parametrize("installed", UNITS, indirect=True)
def test_they_are_hardened(installed: Path) -> None:
    review = [
        "systemd-analyze",
        "security",
        "--offline=true",
        f"--threshold={EXPOSURE * 10:.0f}",
        "--no-pager",
        str(installed),
    ]
    done = subprocess.run(review, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_worker_is_given_longer_than_its_grace() -> None:
    unit = settings("longboat-worker@.service")
    assert int(unit["TimeoutStopSec"][0]) >= GRACE + 10
    assert (unit["KillMode"], unit["KillSignal"]) == (["mixed"], ["SIGTERM"])


@pytest.fixture
def told(tmp_path: Path) -> Iterator[socket.socket]:
    """Where systemd would be told that the service is up, alive and stopping."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(str(tmp_path / "notify"))
        heard.settimeout(20)
        yield heard


def hears(told: socket.socket, state: str) -> bool:
    while (said := told.recv(100).decode()) != state:
        assert said in ("READY=1", "WATCHDOG=1", "STOPPING=1"), said
    return True


def variables(tmp_path: Path) -> dict[str, str]:
    """Those of worker.env, with a store in a folder that is there."""
    lines = [line for line in (FOLDER / "worker.env").read_text().splitlines() if line and not line.startswith("#")]
    found = dict(line.split("=", 1) for line in lines)
    state = settings("longboat-worker@.service")["StateDirectory"][0]
    url = found["LONGBOAT_URL"].replace(f"/var/lib/{state}", str(tmp_path))
    assert url != found["LONGBOAT_URL"]
    return {**found, "LONGBOAT_URL": url}


@pytest.mark.slow
def test_a_worker_tells_when_it_is_up_and_drains(told: socket.socket, tmp_path: Path) -> None:
    unit = settings("longboat-worker@.service")
    assert unit["Type"] == ["notify"]
    command = shlex.split(unit["ExecStart"][0].replace(PROGRAM, f"{SCRIPTS}/longboat"))
    environment = {**variables(tmp_path), "NOTIFY_SOCKET": str(tmp_path / "notify")}
    with running(tmp_path, command, environment) as program:
        assert hears(told, "READY=1")
        assert hears(told, "WATCHDOG=1")
        before = workers_of(program.pid)
        reload = shlex.split(unit["ExecReload"][0].replace("$MAINPID", str(program.pid)))
        assert passes(reload, {"PATH": PATH})
        until(lambda: workers_of(program.pid) and not workers_of(program.pid) & before, 30)
        finishes_what_it_runs(program, environment["LONGBOAT_URL"], tmp_path, getattr(signal, unit["KillSignal"][0]))
        assert hears(told, "STOPPING=1")


def workers_of(pid: int) -> set[int]:
    """Its children, but for those that have ended."""
    return {child.pid for child in psutil.Process(pid).children() if child.status() != psutil.STATUS_ZOMBIE}


@pytest.mark.slow
def test_the_dashboard_starts_and_stops(tmp_path: Path) -> None:
    unit = settings("longboat-dashboard.service")
    text, _, port = placed(unit["ExecStart"][0].replace(PROGRAM, f"{SCRIPTS}/longboat"))
    environment = {**variables(tmp_path), "LONGBOAT_DASHBOARD_TOKEN": os.urandom(12).hex() + "a1"}
    Path(environment["LONGBOAT_URL"].removeprefix("sqlite:///")).touch()  # by a worker: the dashboard waits for it
    with running(tmp_path, shlex.split(text), environment) as program:
        waiting_for(lambda: passes(["longboat", "check", "--health-port", str(port)], {}), program)
        assert told_to_leave(program) < int(unit["TimeoutStopSec"][0])
