"""pytest's fixtures, as the tests of a program use them."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

pytest_plugins = "pytester"

PLUGIN = "pytest_longboat"
ROOT = Path(__file__).parent.parent.parent

SHOP = """
from longboat import Longboat

app = Longboat("sqlite:////nowhere/queue.db")
sent = []

@app.task(queue="mail", retries=1, backoff="1m")
def send(to: str, copies: int = 1) -> str:
    sent.append(to)
    if to == "bad":
        raise ValueError("no address")
    return f"{copies} to {to}"

@app.task
async def greet(name: str) -> str:
    return f"hello {name}"
"""

TESTS = """
import pytest
from longboat import Longboat, State
from shop.jobs import app, greet, send, sent

def test_enqueued(longboat_app, assert_enqueued, assert_not_enqueued, perform_jobs):
    assert longboat_app is app
    handle = send.enqueue("a@b.c")
    assert_enqueued(send, "a@b.c", queue="mail", times=1)
    assert_not_enqueued(greet)
    perform_jobs()
    assert handle.result() == "1 to a@b.c"

def test_apart(longboat_jobs):
    longboat_jobs.assert_not_enqueued(send)  # what the test before has enqueued is gone

def test_eager(eager):
    assert greet.enqueue("you").result() == "hello you"
    with pytest.raises(ValueError):
        send.enqueue("bad")

def test_clock(longboat_clock, perform_jobs):
    job = send.using(delay="1h").enqueue("later")
    assert perform_jobs() == []
    longboat_clock.move("1h")
    perform_jobs()
    assert job.status() is State.SUCCEEDED

def test_worker(longboat_worker):
    assert send.enqueue("a@b.c").result("10s") == "1 to a@b.c"

def test_idempotent(assert_idempotent):
    assert_idempotent(send, "a", effects=lambda: set(sent), reset=sent.clear)

@pytest.mark.anyio
async def test_async(longboat_jobs):
    job = await greet.aenqueue("you")
    await longboat_jobs.aperform_jobs()
    assert await job == "hello you"

@pytest.fixture
def anyio_backend():
    return "asyncio"

class TestOwn:
    @pytest.fixture
    def longboat_instance(self):
        return Longboat("memory://")

    def test_own(self, longboat_app):
        assert longboat_app is not app

def test_restored():
    assert app.url == "sqlite:////nowhere/queue.db"
"""


def test_it_is_an_entry_point() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["entry-points"]["pytest11"] == {PLUGIN: PLUGIN}
    assert f"src/{PLUGIN}.py" in project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]


def test_loading_it_imports_nothing_of_longboat() -> None:
    code = "import sys, pytest; before = {*sys.modules}; import pytest_longboat; print(*{*sys.modules} - before)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == [PLUGIN]


def shop(pytester: pytest.Pytester, ini: str = "longboat_app = shop.jobs:app") -> None:
    pytester.makepyfile(**{"shop/__init__": "", "shop/jobs": SHOP})
    pytester.makeini(f"[pytest]\npythonpath = .\n{ini}")


def test_the_fixtures_work_together(pytester: pytest.Pytester) -> None:
    shop(pytester)
    pytester.makepyfile(TESTS)
    pytester.runpytest_subprocess("-p", PLUGIN, "-W", "error").assert_outcomes(passed=9)


@pytest.mark.slow
def test_the_fixtures_work_under_xdist(pytester: pytest.Pytester) -> None:
    shop(pytester)
    pytester.makepyfile(test_one=TESTS, test_two=TESTS)
    pytester.runpytest_subprocess("-p", PLUGIN, "-n", "2").assert_outcomes(passed=18)


def test_an_app_that_is_not_named_or_not_found_is_told_in_one_line(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test(longboat_app): pass")
    found = pytester.runpytest_inprocess("-p", "no:django", "-p", PLUGIN)
    found.stdout.fnmatch_lines(["*write `longboat_app = module:attribute` in pytest's configuration*"])
    found = pytester.runpytest_inprocess("-p", "no:django", "-p", PLUGIN, "-o", "longboat_app=nowhere:app")
    found.stdout.fnmatch_lines(["*longboat_app = nowhere:app: *nowhere*"])


def test_a_failure_shows_the_test_and_no_code_of_the_plugin(pytester: pytest.Pytester) -> None:
    shop(pytester)
    pytester.makepyfile("from shop.jobs import send\ndef test(assert_enqueued): assert_enqueued(send, 'a')")
    found = pytester.runpytest_inprocess("-p", "no:django", "-p", PLUGIN)
    found.stdout.fnmatch_lines(["E *shop.jobs.send(to='a') was not enqueued: nothing was enqueued"])
    found.stdout.no_fnmatch_line("*harness.py*")
