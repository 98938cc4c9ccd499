"""What newcomers meet first: each error says what to write instead."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import longboat
from longboat import BadArguments, ConfigError, Executor, Longboat, Pool, chain, connect, every
from longboat.cli.locate import find
from longboat.errors import AppNotFound
from longboat.tasks.schedule import Schedule, checked

ours = Longboat("memory://")
app: Any = ours  # Any here and below: type checkers refuse all this as well
pool: Any = Pool
executor: Any = Executor


@ours.task
def parse(text: str = "") -> str:
    return text


whole: Any = longboat
other: Any = parse


def init(number: int) -> None: ...


WEB = ("starlette", "uvicorn", "jinja2", "markupsafe")


def test_the_dashboard_without_its_packages_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(f"import sys\nsys.modules.update(dict.fromkeys({WEB}))\n")
    done = subprocess.run(
        [sys.executable, "-m", "longboat", "dashboard", "--url", "sqlite:///a.db", "--root", "/jobs"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "pip install 'longboat[web]'" in done.stderr
    assert "Traceback" not in done.stderr


REFUSED: dict[str, tuple[Callable[[], object], str]] = {
    "pool": (lambda: pool(2, init, (1,)), "Pool(2, initializer=init, initargs=(…,))"),
    "executor": (lambda: executor(2, init), "Executor(2, initializer=init, initargs=(…,))"),
    "number": (lambda: app.schedule(5.0)(parse), 'every("5s")'),
    "timedelta": (lambda: app.schedule(timedelta(minutes=1))(parse), 'every("60s")'),
    "cron": (lambda: app.schedule("* * *")(parse), "a sixth field in front of them is the second"),
    "limit": (lambda: app.task(limit="10/m")(parse.fn), "Limit(rate='10/m')"),
    "limits": (lambda: app.task(limit=3)(parse.fn), "longboat.Limit"),
    "scheme": (lambda: connect("redi://localhost"), "Did you mean redis://?"),
    "port": (lambda: connect("localhost:6379"), "Did you mean redis://localhost:6379?"),
    "broker": (lambda: whole.Longboat(broker="redis://"), "takes no 'broker': use the first argument"),
    "bind": (lambda: app.task(bind=True)(parse.fn), "longboat.current()"),
    "delay": (lambda: other.enqueue("a", countdown=3), "using(delay=…).enqueue(…)"),
    "name": (lambda: app.enqueue("main.hello", 1), "app.send('main.hello', …)"),
    "handle": (lambda: app.job(parse.job("x")), "give its .id"),
    "chain": (lambda: chain(parse.s("a"), other.s()), "write the task alone, parse and not parse.s(…)"),
    "or": (lambda: other.s("a") | other.s(), ".then"),
    "password": (lambda: connect("me:secret@localhost:6379/0"), "Did you mean redis://***@localhost:6379/0?"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_refused_says_what_to_write(what: str) -> None:
    call, words = REFUSED[what]
    with pytest.raises((ConfigError, BadArguments)) as caught:
        call()
    assert words in str(caught.value)
    assert "secret" not in str(caught.value)


def test_the_sixth_field_of_a_cron_expression_is_the_second() -> None:
    rule = Schedule(name="a", rule="*/20 * * * * *", task="t", payload=b"\x80")
    assert checked(rule).next(0.0, 3) == [20.0, 40.0, 60.0]


def test_a_period_may_be_a_timedelta() -> None:
    rule = Schedule(name="a", rule=every(timedelta(seconds=90)), task="t", payload=b"\x80")
    assert checked(rule).next(0.0, 2) == [90.0, 180.0]


def test_outside_a_job_a_test_is_told_how_to_be_in_one() -> None:
    with pytest.raises(LookupError, match=r"longboat\.testing\.Harness .* jobs\.eager\(\)"):
        longboat.current()


def test_the_names_of_other_queues_are_answered() -> None:
    for thing, name, ours in (
        (app, "send_task", "send("),
        (app, "conf", "@app.task("),
        (app, "AsyncResult", "job("),
        (parse, "apply", "call the task"),
        (parse, "retry", "retries="),
        (parse, "AsyncResult", "job("),
        (longboat, "shared_task", "@app.task"),
    ):
        with pytest.raises(AttributeError) as caught:
            getattr(thing, name)
        assert ours in str(caught.value)
        assert name not in dir(thing)


def test_a_django_project_is_named_as_its_user_knows_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*sys.path])
    for name in ("LONGBOAT_APP", "DJANGO_SETTINGS_MODULE"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "manage.py").touch()
    with pytest.raises(
        AppNotFound, match=r"Django project\? Run `python manage.py longboat worker`, or set DJANGO_SETTINGS_MODULE"
    ):
        find(None)

    def missing(_: str) -> None:
        raise ModuleNotFoundError("No module named 'mysite'", name="mysite")

    monkeypatch.setattr("longboat.cli.locate.importlib.import_module", missing)
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "mysite.settings")
    with pytest.raises(AppNotFound, match="in the folder that has manage") as raised:
        find(None)
    named = f"the Django project of DJANGO_SETTINGS_MODULE=mysite.settings in {tmp_path} cannot be imported: "
    assert str(raised.value).startswith(f"{named}ModuleNotFoundError: No module named 'mysite'")


def test_a_worker_without_a_task_warns(caplog: pytest.LogCaptureFixture) -> None:
    with Longboat("memory://", include=["tests.apps"]).worker(burst=True):
        pass
    assert "no task found; modules imported: tests.apps. Define one" in caplog.text
    caplog.clear()
    with ours.worker(burst=True):
        pass
    assert "no task found" not in caplog.text
