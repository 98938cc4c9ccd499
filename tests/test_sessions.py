"""Jobs in the transaction of a program's own session: with its rows, or not at all. Here on SQLite."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from longboat import Longboat, State, Unique
from longboat.contract import awaited as awaited_connections
from longboat.core.codec import decode
from longboat.errors import ConfigError
from tests.rigs.fault import until
from tests.rigs.sessions import ORDERS, SQLITE, Program

KILLS = 5


def tasks(url: str) -> Longboat:
    app = Longboat(url)

    @app.task(name="send")
    def send(order: int) -> int:
        return order

    @app.task(name="once", unique=Unique(by="{order}"))
    def once(order: int) -> None: ...

    return app


@pytest.mark.parametrize("kind", SQLITE)
def test_jobs_are_in_the_transaction_on_sqlite(tmp_path: Path, kind: str) -> None:
    path = str(tmp_path / "shop.db")
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(ORDERS)
    with tasks(f"sqlite:///{path}") as app, SQLITE[kind](path) as program:
        in_the_transaction(app, program)


def in_the_transaction(app: Longboat, program: Program) -> None:
    send, once, find = app.named("send"), app.named("once"), app.broker.inspector.find
    lost = [program.enqueue(send, 1), program.enqueue(once, 1), program.enqueue(send.using(delay="1m"), 1)]
    assert find([each.id for each in lost]) == [None] * 3, "seen before the commit"
    program.rollback()
    assert app.broker.inspector.counts() == {}
    program.run("INSERT INTO orders VALUES (17)")
    made = [program.enqueue(send, 17), program.enqueue(send.using(id="chosen"), 17), program.enqueue(once, 1)]
    assert program.enqueue(once, 1).id == made[2].id, "its transaction sees what it has put"
    program.enqueue(send.using(id="chosen"), 18)  # known
    assert find([each.id for each in made]) == [None] * 3
    program.commit()
    assert [view.id for view in find([each.id for each in made]) if view] == [each.id for each in made]
    assert sum(app.broker.inspector.counts().values()) == 3
    program.enqueue(send, 18)
    program.commit()  # of nothing but the job
    assert sum(app.broker.inspector.counts().values()) == 4


PROGRAM = """
import sys
from tests.rigs.fault import until
from tests.rigs.sessions import POSTGRES, SQLITE
from tests.test_sessions import tasks

url, database, kind, first = sys.argv[1:]
kinds = SQLITE if url.startswith("sqlite") else POSTGRES
with kinds[kind](database) as program, tasks(url) as app:
    send = app.named("send")
    for order in range(int(first), int(first) + 100_000):
        program.run(f"INSERT INTO orders VALUES ({order})")
        program.enqueue(send, order)
        program.commit()
        print(order, flush=True)
"""


def killed_again_and_again(app: Longboat, database: str, kind: str) -> None:
    """Run the program, and kill it at any moment, also between its two statements and in its commit."""
    acknowledged: list[int] = []
    for turn in range(KILLS):
        command = [sys.executable, "-c", PROGRAM, app.url, database, kind, str(turn * 100_000)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            acknowledged.append(int(process.stdout.readline()))  # it is at work
            time.sleep(random.uniform(0, 0.05))
            os.kill(process.pid, signal.SIGKILL)
            acknowledged += [int(line) for line in process.stdout if line.endswith("\n")]
    orders = orders_of_jobs(app)
    assert orders == sorted(stored_orders(app, database)), "a job without its order, or an order without its job"
    assert set(acknowledged) <= set(orders)
    assert len(orders) >= KILLS


def orders_of_jobs(app: Longboat) -> list[int]:
    found: list[int] = []
    after = None
    while True:
        page = app.broker.inspector.jobs(State.READY, after=after, limit=1000)
        found += [int(decode(view.payload)["order"]) for view in page.jobs]
        if (after := page.after) is None:
            return sorted(found)


def stored_orders(app: Longboat, database: str) -> list[int]:
    if app.url.startswith("sqlite"):
        with closing(sqlite3.connect(database)) as db:
            return [order for (order,) in db.execute("SELECT id FROM orders")]
    import psycopg

    with psycopg.connect(database) as connection:
        return [order for (order,) in connection.execute("SELECT id FROM orders")]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite3", "AsyncSession"])
def test_a_killed_program_leaves_a_job_for_each_row_on_sqlite(tmp_path: Path, kind: str) -> None:
    path = str(tmp_path / "shop.db")
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(ORDERS)
    with tasks(f"sqlite:///{path}") as app:
        app.broker.inspector.counts()
        killed_again_and_again(app, path, kind)


def test_a_commit_wakes_a_waiting_worker(tmp_path: Path) -> None:
    """SQLite tells nobody of a commit, and so the process that put the job looks for it."""
    path = str(tmp_path / "shop.db")
    with tasks(f"sqlite:///{path}") as app, SQLITE["sqlite3"](path) as program, ThreadPoolExecutor(1) as threads:
        consumer = app.broker.consumer(["default"], lease=30)
        receiving = threads.submit(consumer.receive, 1, wait=10)
        handle = program.enqueue(app.named("send"), 1)
        assert not receiving.done()
        rung = app.broker._ringer.ring = Mock(wraps=app.broker._ringer.ring)  # type: ignore[attr-defined]  # what this adapter has of its own
        program.commit()
        assert [lease.job.id for lease in receiving.result(5)] == [handle.id]
        until(lambda: rung.called, 5)
        consumer.close()


def test_the_first_use_may_be_within_a_transaction(tmp_path: Path) -> None:
    """The program has written, and so nobody else can make the tables."""
    path = str(tmp_path / "shop.db")
    with tasks(f"sqlite:///{path}") as app, SQLITE["sqlite3"](path) as program:
        program.run(ORDERS)
        program.run("INSERT INTO orders VALUES (1)")
        handle = program.enqueue(app.named("send"), 1)
        program.commit()
        assert handle.status() is State.READY


@pytest.mark.parametrize(
    ("session", "message"),
    [(object(), "no open connection of a database driver"), (sqlite3.connect(":memory:"), "leads to a database in memory")],
)
def test_what_cannot_be_used_is_told(tmp_path: Path, session: object, message: str) -> None:
    with tasks(f"sqlite:///{tmp_path}/queue.db") as app:
        with pytest.raises(ConfigError, match=message):
            app.named("send").using(session=session).enqueue(1)
        with pytest.raises(ConfigError, match="one option"):
            app.named("send").using(session=session, connection=session)
        with pytest.raises(ConfigError, match="call enqueue, in the thread"):
            asyncio.run(awaited(app, session))


async def awaited(app: Longboat, session: object) -> None:
    await app.named("send").using(session=session).aenqueue(1)


@pytest.mark.skipif("aiosqlite" not in SQLITE, reason="aiosqlite is not installed")
def test_nothing_is_run_for_a_caller_who_was_cancelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection may be in its next transaction by then, which is none of the job's."""
    statements: list[str] = []

    async def cancelled(app: Longboat, connection: Any) -> None:
        started, go_on, run = asyncio.Event(), asyncio.Event(), awaited_connections._RUN["aiosqlite"]

        async def slow(given: Any, sql: str, values: Any) -> Any:
            statements.append(sql)
            started.set()
            await go_on.wait()
            return await run(given, sql, values)

        monkeypatch.setitem(awaited_connections._RUN, "aiosqlite", slow)
        enqueuing = asyncio.create_task(awaited(app, connection))
        await started.wait()
        enqueuing.cancel()
        await asyncio.sleep(0)
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await enqueuing
        await connection.commit()

    path = str(tmp_path / "shop.db")
    with tasks(f"sqlite:///{path}") as app, SQLITE["aiosqlite"](path) as program:
        app.broker.inspector.counts()
        program.call(cancelled, app, program.session)
        assert app.broker.inspector.counts() == {}
    assert len(statements) == 1


@pytest.mark.skipif("AsyncSession" not in SQLITE, reason="aiosqlite is not installed")
@pytest.mark.parametrize("kind", ["AsyncSession", "aiosqlite"])
def test_an_asynchronous_session_is_awaited(tmp_path: Path, kind: str) -> None:
    path = str(tmp_path / "shop.db")
    with tasks(f"sqlite:///{path}") as app, SQLITE[kind](path) as program:
        with pytest.raises(ConfigError, match="`await` aenqueue"):
            app.named("send").using(session=program.session).enqueue(1)
        with (
            SQLITE["Session"](str(tmp_path / "other.db")) as other,
            pytest.raises(ConfigError, match=r"leads to .*other\.db"),
        ):
            other.enqueue(app.named("send"), 1)
