"""The Flask extension: the application context of each job, the config, and several apps."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, current_app, g, has_app_context
from flask.globals import app_ctx
from sqlalchemy import create_engine, text
from sqlalchemy.orm import scoped_session, sessionmaker

from longboat import AppNotFound, ConfigError, JobFailed
from longboat import Longboat as Plain
from longboat.contrib.flask import Longboat
from longboat.testing import Harness
from tests.rigs.servers.process import free_ports

longboat = Longboat(url="memory://")  # as in a module of a factory: before there is an app
EVENTS: list[str] = []
GO = threading.Event()


def seen() -> str:
    """The app's name; raises if another job's context is still here."""
    assert "used" not in g
    g.used = True
    return current_app.name


@longboat.task
def plain() -> str:
    return seen()


@longboat.task
async def coroutine() -> str:
    await asyncio.sleep(0)
    return seen() + await asyncio.to_thread(lambda: current_app.name)


@longboat.task
def fails() -> None:
    raise ValueError(seen())


@longboat.task
async def fails_later() -> None:
    seen()
    await asyncio.sleep(0)
    raise ValueError(current_app.name)


@longboat.task(timeout=0.05)
async def hangs() -> None:
    seen()
    await asyncio.sleep(60)


@longboat.task(timeout=0.05)
def is_slow() -> None:
    seen()
    assert GO.wait(30)


def create_app(name: str = "shop", **config: str) -> Flask:
    app = Flask(name)
    app.config.update(config)
    longboat.init_app(app)

    @app.teardown_appcontext
    def left(error: BaseException | None) -> None:
        EVENTS.append(f"{current_app.name} {type(error).__name__}")

    return app


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("LONGBOAT_URL", raising=False)
    EVENTS.clear()
    yield
    longboat.close()


def test_each_job_has_an_app_context_of_its_own() -> None:
    create_app()
    with longboat.worker(threads=1, concurrency=10):
        assert [plain.enqueue().result(10) for _ in range(3)] == ["shop"] * 3
        assert [job.result(10) for job in [coroutine.enqueue() for _ in range(10)]] == ["shopshop"] * 10
        assert EVENTS == ["shop NoneType"] * 13
    assert not has_app_context()


@pytest.mark.parametrize(("task", "error"), [(fails, "ValueError"), (fails_later, "ValueError"), (hangs, "CancelledError")])
def test_the_context_of_a_failed_attempt_is_popped_with_its_error(task: object, error: str) -> None:
    create_app()
    with longboat.worker(threads=1):
        with pytest.raises(JobFailed):
            task.enqueue().result(10)  # type: ignore[attr-defined]  # tasks of two kinds
        assert [f"shop {error}"] == EVENTS
        assert plain.enqueue().result(10) == "shop"


@pytest.mark.slow
def test_an_abandoned_thread_pops_its_context_when_it_ends() -> None:
    create_app()
    with longboat.worker(threads=1):
        with pytest.raises(JobFailed):
            is_slow.enqueue().result(10)
        assert plain.enqueue().result(10) == "shop"
        assert EVENTS == ["shop NoneType"]
    GO.set()
    end = time.monotonic() + 10
    while len(EVENTS) < 2 and time.monotonic() < end:
        time.sleep(0.01)
    assert EVENTS == ["shop NoneType"] * 2


def test_a_session_of_sqlalchemy_is_removed_after_each_job(tmp_path: Path) -> None:
    app = create_app()
    engine = create_engine(f"sqlite:///{tmp_path}/shop.db")
    # As Flask-SQLAlchemy does.
    session = scoped_session(sessionmaker(engine), scopefunc=lambda: id(app_ctx._get_current_object()))  # type: ignore[attr-defined]  # a proxy
    app.teardown_appcontext(lambda _: session.remove())

    def rows(number: int) -> int:
        session.execute(text("create table if not exists row (n int)"))
        session.execute(text("insert into row values (1)"))
        if number == 1:
            raise ValueError  # its row goes with its session
        session.commit()
        return int(session.execute(text("select count(*) from row")).scalar_one())

    task = longboat.task(name="rows")(rows)
    with longboat.worker(threads=1):
        assert task.enqueue(0).result(10) == 1
        with pytest.raises(JobFailed):
            task.enqueue(1).result(10)
        assert task.enqueue(2).result(10) == 2
    assert session.registry.registry == {}
    engine.dispose()


def test_two_apps_in_one_process_have_a_longboat_each() -> None:
    create_app("shop")
    with Longboat(Flask("bank"), url="memory://") as other:

        @other.task(name="who")
        def who() -> str:
            return current_app.name

        with longboat.worker(), other.worker():
            assert (plain.enqueue().result(10), who.enqueue().result(10)) == ("shop", "bank")


def test_the_last_app_of_a_factory_is_served(tmp_path: Path) -> None:
    first = create_app("first", LONGBOAT_URL=f"sqlite:///{tmp_path}/first.db")
    plain.enqueue()
    second = create_app("second", LONGBOAT_URL=f"sqlite:///{tmp_path}/second.db")
    with longboat.worker():
        assert plain.enqueue().result(10) == "second"
    assert first.extensions["longboat"] is second.extensions["longboat"] is longboat
    assert EVENTS == ["second NoneType"], "the first app's job waits in its own file"
    create_app("third")
    assert longboat.url == "memory://"


def test_the_variable_beats_the_config_beats_the_argument(monkeypatch: pytest.MonkeyPatch) -> None:
    app = Flask("shop")
    assert Longboat(app, url="redis://code").url == "redis://code"
    app.config["LONGBOAT_URL"] = "redis://config"
    assert Longboat(app, url="redis://code").url == "redis://config"
    monkeypatch.setenv("LONGBOAT_URL", "redis://variable")
    assert Longboat(app, url="redis://code").url == "redis://variable"


def test_the_config_names_a_spool(tmp_path: Path) -> None:
    usual = f"sqlite:///{tmp_path}/usual.db"
    longboat = Longboat(Flask("shop"), url=f"redis://127.0.0.1:{free_ports(1)[0]}", spool=usual)
    assert longboat.spool == usual
    app = Flask("shop")
    app.config["LONGBOAT_SPOOL"] = f"sqlite:///{tmp_path}/spool.db"
    longboat.init_app(app)
    with longboat:
        assert longboat.task(name="send")(plain.fn).enqueue().status() == "waiting"
    assert [each.name for each in tmp_path.iterdir() if each.suffix == ".db"] == ["spool.db"]
    app.config["LONGBOAT_SPOOL"] = "spool.db"
    with pytest.raises(ConfigError, match=r"write sqlite:///spool\.db"):
        longboat.init_app(app)


def test_an_outbox_is_opened_in_the_context_of_the_app(tmp_path: Path) -> None:
    def connect() -> sqlite3.Connection:
        assert current_app.name == "shop"
        return sqlite3.connect(tmp_path / "shop.db", check_same_thread=False)

    with (
        Longboat(url="memory://", outbox=connect) as longboat,
        contextlib.closing(sqlite3.connect(tmp_path / "shop.db")) as db,
    ):
        longboat.init_app(Flask("shop"))
        job = longboat.task(name="plain")(plain.fn).using(session=db).enqueue()
        db.commit()
        with longboat.worker():
            assert job.result(10) == "shop"


def test_a_worker_without_an_app_is_refused() -> None:
    made = Longboat(url="memory://")
    with pytest.raises(AppNotFound, match=r"init_app\n.*flask --app"):
        made.worker()


def test_a_factory_may_be_called_within_a_harness(tmp_path: Path) -> None:
    create_app(LONGBOAT_URL=f"sqlite:///{tmp_path}/never.db")
    with Harness(longboat) as jobs:
        plain.enqueue()
        create_app("second", LONGBOAT_URL=f"sqlite:///{tmp_path}/never.db")
        coroutine.enqueue()
        assert [done.result for done in jobs.perform_jobs()] == ["second", "secondsecond"]
    assert longboat.url.endswith("never.db")
    assert not list(tmp_path.iterdir())


def test_what_stands_in_the_wrong_place_is_refused() -> None:
    wrong: Any = "redis://localhost:6379"
    with pytest.raises(ConfigError, match="url="):
        Longboat(wrong)
    wrong = Flask("shop")
    with pytest.raises(ConfigError, match=r"longboat\.contrib\.flask"):
        Plain(wrong)


def test_it_is_a_longboat() -> None:
    """So the command line finds it, and everything that takes an app takes it."""
    assert isinstance(longboat, Plain)
