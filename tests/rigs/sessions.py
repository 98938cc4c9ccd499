"""Every kind of session and connection that a program may have, with one way to use them all."""

from __future__ import annotations

import asyncio
import importlib
import sqlite3
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, NamedTuple

from longboat.tasks.task import Task

ORDERS = "CREATE TABLE IF NOT EXISTS orders (id BIGINT NOT NULL)"


class Program(NamedTuple):
    """What a program does in its transaction."""

    session: Any
    enqueue: Callable[..., Any]
    """Given a task, enqueue it with these arguments in the transaction; returns the handle."""
    run: Callable[[str], Any]
    """Run a statement in the transaction."""
    commit: Callable[[], Any]
    rollback: Callable[[], Any]
    call: Any = None
    """Where all this is awaited: run a coroutine function on its event loop."""


def _enqueue(session: Any) -> Callable[..., Any]:
    def enqueue(task: Task[..., Any], *args: Any) -> Any:
        return task.using(session=session).enqueue(*args)

    return enqueue


def _blocking(session: Any, run: Callable[[str], Any]) -> Program:
    return Program(session, _enqueue(session), run, session.commit, session.rollback)


@contextmanager
def _driver(session: Any) -> Iterator[Program]:
    try:
        yield _blocking(session, session.execute)
    finally:
        session.close()


@contextmanager
def _sqlalchemy(url: str, kind: str) -> Iterator[Program]:
    import sqlalchemy
    from sqlalchemy.orm import Session, scoped_session, sessionmaker

    engine = sqlalchemy.create_engine(url)
    makers: dict[str, Any] = {
        "Connection": engine.connect,
        "Session": lambda: Session(engine),
        "scoped_session": lambda: scoped_session(sessionmaker(engine)),
    }
    session = makers[kind]()
    try:
        yield _blocking(session, lambda sql: session.execute(sqlalchemy.text(sql)))
    finally:
        session.close()
        engine.dispose()


@contextmanager
def _asynchronous(url: str, kind: str) -> Iterator[Program]:
    import sqlalchemy
    from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

    with asyncio.Runner() as runner:

        async def opened() -> tuple[Any, Any]:
            engine = create_async_engine(url)
            return engine, AsyncSession(engine) if kind == "AsyncSession" else await engine.connect()

        engine, session = runner.run(opened())

        def blocking(call: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Any]:
            return lambda *args: runner.run(call(*args))

        async def enqueue(task: Task[..., Any], *args: Any) -> Any:
            return await task.using(session=session).aenqueue(*args)

        async def run(sql: str) -> None:
            await session.execute(sqlalchemy.text(sql))

        try:
            yield Program(session, blocking(enqueue), blocking(run), blocking(session.commit), blocking(session.rollback))
        finally:
            runner.run(session.close())
            runner.run(engine.dispose())


@contextmanager
def _awaited(connect: Callable[[], Any]) -> Iterator[Program]:
    """A connection of an asynchronous driver."""
    with asyncio.Runner() as runner:

        async def opened() -> Any:
            return await connect()

        connection = runner.run(opened())

        async def call(function: Callable[..., Any], *args: Any) -> Any:
            return await function(*args)

        def blocking(function: Callable[..., Any], *given: Any) -> Callable[..., Any]:
            return lambda *args: runner.run(call(function, *given, *args))

        def enqueue(task: Task[..., Any], *args: Any) -> Any:
            return task.using(session=connection).aenqueue(*args)

        def end(how: str) -> Callable[[], Any]:
            if hasattr(connection, how):
                return blocking(getattr(connection, how))
            return blocking(connection.execute, f"{how}; BEGIN")  # asyncpg

        try:
            run = blocking(connection.execute)
            yield Program(connection, blocking(enqueue), run, end("commit"), end("rollback"), blocking(call))
        finally:
            blocking(connection.close)()


@contextmanager
def _django(settings: dict[str, Any]) -> Iterator[Program]:
    import django
    import django.conf  # type: ignore[import-untyped,unused-ignore]  # has no types
    from django.db.utils import ConnectionHandler  # type: ignore[import-untyped,unused-ignore]  # has no types

    if not django.conf.settings.configured:
        django.conf.settings.configure()
    django.setup()
    connection = ConnectionHandler({"default": settings})["default"]
    connection.set_autocommit(False)

    def run(sql: str) -> None:
        with connection.cursor() as cursor:
            cursor.execute(sql)

    try:
        yield _blocking(connection, run)
    finally:
        connection.close()


SQLITE: dict[str, Callable[[str], Any]] = {
    "sqlite3": lambda path: _driver(sqlite3.connect(path)),
    "sqlite3 rows": lambda path: _driver(_with_rows(path)),
    "Connection": lambda path: _sqlalchemy(f"sqlite:///{path}", "Connection"),
    "Session": lambda path: _sqlalchemy(f"sqlite:///{path}", "Session"),
    "scoped_session": lambda path: _sqlalchemy(f"sqlite:///{path}", "scoped_session"),
    "Django": lambda path: _django({"ENGINE": "django.db.backends.sqlite3", "NAME": path}),
}
"""By kind: a program on the database in this file."""
if find_spec("aiosqlite"):
    SQLITE["aiosqlite"] = lambda path: _awaited(lambda: importlib.import_module("aiosqlite").connect(path))
    SQLITE["AsyncConnection"] = lambda path: _asynchronous(f"sqlite+aiosqlite:///{path}", "AsyncConnection")
    SQLITE["AsyncSession"] = lambda path: _asynchronous(f"sqlite+aiosqlite:///{path}", "AsyncSession")


class Own(sqlite3.Connection):
    """As programs derive theirs."""


def _with_rows(path: str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level="IMMEDIATE", factory=Own)
    connection.row_factory = lambda cursor, row: {
        column[0]: value for column, value in zip(cursor.description, row, strict=True)
    }
    return connection


def _psycopg(url: str) -> Any:
    import psycopg

    return _driver(psycopg.connect(url))


def _dicts(url: str) -> Any:
    import psycopg
    from psycopg.rows import dict_row

    return psycopg.AsyncConnection.connect(url, row_factory=dict_row)


async def _begun(url: str) -> Any:
    connection = await importlib.import_module("asyncpg").connect(url)
    await connection.execute("BEGIN")
    return connection


def _of_url(url: str) -> dict[str, Any]:
    from urllib.parse import urlsplit

    parts = urlsplit(url)
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": parts.path[1:],
        "USER": parts.username,
        "HOST": parts.hostname,
        "PORT": parts.port,
    }


def _over(driver: str) -> Callable[[str], str]:
    return lambda url: url.replace("postgresql://", f"postgresql+{driver}://")


POSTGRES: dict[str, Callable[[str], Any]] = {
    "psycopg": _psycopg,
    "psycopg's AsyncConnection": lambda url: _awaited(lambda: _dicts(url)),
    "Connection": lambda url: _sqlalchemy(_over("psycopg")(url), "Connection"),
    "Session": lambda url: _sqlalchemy(_over("psycopg")(url), "Session"),
    "scoped_session": lambda url: _sqlalchemy(_over("psycopg")(url), "scoped_session"),
    "AsyncConnection": lambda url: _asynchronous(_over("psycopg")(url), "AsyncConnection"),
    "AsyncSession": lambda url: _asynchronous(_over("psycopg")(url), "AsyncSession"),
    "Django": lambda url: _django(_of_url(url)),
}
"""By kind: a program on the database at this URL."""
if find_spec("asyncpg"):
    POSTGRES["asyncpg"] = lambda url: _awaited(lambda: _begun(url))
    POSTGRES["AsyncSession over asyncpg"] = lambda url: _asynchronous(_over("asyncpg")(url), "AsyncSession")
if find_spec("psycopg2"):
    POSTGRES["Session over psycopg2"] = lambda url: _sqlalchemy(_over("psycopg2")(url), "Session")
