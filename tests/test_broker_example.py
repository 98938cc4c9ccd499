"""examples/broker, installed by pip into a fresh environment: it works, keeps what it claims, and says what it lacks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from longboat.contract.capabilities import Capability
from longboat.testing.conformance import CLAUSES

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "examples" / "broker"

TASKS = """
import time
from pathlib import Path

from longboat import Longboat

app = Longboat()
OUT = Path("out")


def tell(line):
    with OUT.open("a") as out:
        out.write(f"{line}\\n")


@app.task
async def greet(name: str) -> None:
    tell(f"hello {name}")


@app.task(executor="process")
def square(n: int) -> None:
    tell(n * n)


@app.task(retries=2, backoff=0.0)
def flaky() -> None:
    attempts = OUT.read_text().count("tried")
    tell("tried")
    if not attempts:
        raise ValueError("not yet")


@app.task(queue="reports")
def report() -> None:
    tell("reported")


if __name__ == "__main__":
    tell("begun")
    for n in range(20):
        greet.enqueue(f"number {n}")
        square.enqueue(n)
    flaky.enqueue()
    report.using(delay=0.3).enqueue()
    handle = greet.using(priority=9).enqueue("who is first")
    for call in (lambda: handle.result(timeout=1), handle.cancel, lambda: greet.using(expires=5).enqueue("x")):
        try:
            call()
        except Exception as error:
            print(type(error).__name__, error)
"""

SUITE = """
import json
import tempfile
from pathlib import Path

from longboat_file import JsonFile, connect
from longboat.testing.conformance import run


class New:
    def __init__(self):
        self.url = f"file://{tempfile.mkdtemp()}/jobs.json"

    def open(self):
        return connect(self.url, {})

    def inject(self, raw, queue):
        raise NotImplementedError


report = run(New)
print(json.dumps([sorted(JsonFile.capabilities), report.kept, report.broken]))
"""

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of programs of an environment that has Longboat, as it stands here, and the example."""
    folder = tmp_path_factory.mktemp("environment")
    commands = [
        [sys.executable, "-m", "venv", str(folder)],
        [str(folder / "bin" / "python"), "-m", "pip", "install", "-q", "-e", str(ROOT), str(EXAMPLE)],
    ]
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    return folder / "bin"


@pytest.fixture
def run(environment: Path, tmp_path: Path) -> Run:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("LONGBOAT_", "PYTHON"))}
    variables = {**kept, "LONGBOAT_URL": f"file://{tmp_path}/jobs.json"}

    def run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(environment / program), *arguments],
            cwd=tmp_path,
            env=variables,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )

    return run


def test_it_is_under_100_lines() -> None:
    (program,) = EXAMPLE.glob("*.py")
    assert len(program.read_text().splitlines()) < 100


def test_a_real_worker_runs_jobs_through_it(run: Run, tmp_path: Path) -> None:
    (tmp_path / "tasks.py").write_text(TASKS)
    enqueued = run("python", "tasks.py")
    assert enqueued.returncode == 0, enqueued.stderr
    others = "Brokers that can: SQLite, Redis, PostgreSQL, manager"
    assert enqueued.stdout.splitlines() == [
        f"Unsupported A JSON file cannot {lacks.sentence}. {others}"
        for lacks in (Capability.RESULTS, Capability.CANCEL, Capability.EXPIRY)
    ]
    worked = run("longboat", "worker", "tasks:app", "--burst")
    assert worked.returncode == 0, worked.stderr
    if "reported" not in (tmp_path / "out").read_text():  # what is delayed ends no burst
        run("longboat", "worker", "tasks:app", "--burst")
    lines = (tmp_path / "out").read_text().splitlines()
    assert next(line for line in lines if line.startswith("hello")) == "hello who is first"
    expected = ["begun", "hello who is first"]
    expected += [f"hello number {n}" for n in range(20)] + [str(n * n) for n in range(20)] + ["tried", "tried", "reported"]
    assert sorted(lines) == sorted(expected)
    assert json.loads((tmp_path / "jobs.json").read_text())["jobs"] == []


def test_the_command_line_says_what_it_lacks(run: Run, tmp_path: Path) -> None:
    (tmp_path / "tasks.py").write_text(TASKS)
    examined = run("longboat", "doctor", "--verbose")
    assert examined.returncode == 0, examined.stdout
    assert f"cannot        {Capability.IDS.sentence}" in examined.stdout
    assert Capability.KV.sentence in examined.stdout
    for arguments, lacks in {
        ("jobs",): Capability.LISTS,
        ("queues",): Capability.COUNTS,
        ("workers",): Capability.KV,
        ("dead", "list"): Capability.DEAD_JOBS,
        ("pause", "--queue", "default"): Capability.KV,
        ("cancel", "x"): Capability.CANCEL,
        ("explain", "x"): Capability.LOOKUP,
    }.items():
        done = run("longboat", *arguments)
        assert done.returncode == 2, (arguments, done.stdout, done.stderr)
        assert f"A JSON file cannot {lacks.sentence}. Brokers that can: SQLite" in done.stderr
        assert "`longboat doctor --verbose` lists what this broker" in done.stderr


def test_it_keeps_every_clause_of_what_it_claims(run: Run, tmp_path: Path) -> None:
    (tmp_path / "suite.py").write_text(SUITE)
    done = run("python", "suite.py")
    assert done.returncode == 0, done.stderr
    claimed, kept, broken = json.loads(done.stdout)
    assert broken == {}
    assert sorted(kept) == sorted(clause.name for clause in CLAUSES if clause.needs <= set(claimed))
    assert len(kept) > 30
