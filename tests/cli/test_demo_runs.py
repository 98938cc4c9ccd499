"""`longboat demo` as a user runs it, and what is left when it is interrupted: nothing."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.rigs.cli import measured

COMMAND = [sys.executable, "-m", "longboat", "demo"]
PACKAGES = ("asyncio", "email", "encodings", "json")
OF_A_PART = """
import sys, sysconfig
from longboat.cli.main import main
library, place = sys.argv.pop(), sysconfig.get_path
sysconfig.get_path = lambda name, *more: library if name == "stdlib" else place(name, *more)
sys.argv.append("demo")
main()
"""
"""The demo on a folder instead of the whole library, which takes half a minute of two processors."""

pytestmark = pytest.mark.slow


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path: the worker's sockets are in it, and their names may have about 100 characters."""
    with tempfile.TemporaryDirectory(prefix="lb-") as made:
        yield Path(made)


def start(folder: Path, command: list[str] = COMMAND) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command,
        env={**measured(), "PATH": "/usr/bin:/bin", "TMPDIR": str(folder), "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=folder,
    )


def until(true: Callable[[], bool], limit: float = 20.0) -> bool:
    """Whether it came true: other processes give no event to wait for."""
    end = time.monotonic() + limit
    while not true() and time.monotonic() < end:
        time.sleep(0.02)
    return true()


def processes_of(folder: Path) -> list[psutil.Process]:
    """The demo started in the folder, and all that it started: its environment is handed down."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("TMPDIR", "").startswith(str(folder)) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


@pytest.mark.timeout(180)
def test_the_demo_runs_and_checks_itself(folder: Path, tmp_path: Path) -> None:
    for package in PACKAGES:
        shutil.copytree(Path(sysconfig.get_path("stdlib"), package), tmp_path / package)
    (tmp_path / "broken.py").write_text("def no one can parse this\n")
    files = len([*tmp_path.rglob("*.py")])
    assert files >= 100, "each of the first hundred has a digest"
    with start(folder, [sys.executable, "-c", OF_A_PART, str(tmp_path)]) as demo:
        text, _ = demo.communicate(timeout=170)
    assert demo.returncode == 0, text
    assert "The worker's report is equal to the plain loop's." in text
    jobs = re.search(r"([\d,]+) jobs were enqueued", text)
    assert jobs
    assert int(jobs[1]) == files + 200 + 100, "with naps and digests"
    assert "1 of these files do not parse" in text
    assert re.search(r"^asyncio +\d+ ", text, re.M), text
    assert re.search(r"speed-up +\d+\.\d\d ", text), text
    assert list(folder.iterdir()) == []
    assert processes_of(folder) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_nothing_is_left_of_an_interrupted_demo(number: int, folder: Path) -> None:
    with start(folder) as demo:
        assert demo.stdout is not None
        while "jobs were enqueued" not in (line := demo.stdout.readline()):
            assert line, "the demo ended before it had begun"
        assert len(processes_of(folder)) > 1
        demo.send_signal(number)
        demo.communicate(timeout=60)
    assert demo.returncode != 0
    assert processes_of(folder) == []
    assert list(folder.iterdir()) == []


def test_a_worker_that_dies_ends_the_demo_with_a_clear_message(folder: Path) -> None:
    with start(folder) as demo:
        assert demo.stdout is not None
        while "jobs were enqueued" not in (line := demo.stdout.readline()):
            assert line, "the demo ended before it had begun"
        (worker,) = psutil.Process(demo.pid).children()
        worker.kill()
        text, _ = demo.communicate(timeout=60)
    assert demo.returncode == 1
    assert "longboat demo: the worker died with status -9." in text
    assert "Traceback" not in text
    assert until(lambda: processes_of(folder) == [])
    assert list(folder.iterdir()) == []
