"""A connection of an asynchronous driver, used from another thread as one of DB-API: its event loop runs each statement."""

from __future__ import annotations

import contextlib
import inspect
import sys
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from longboat.errors import ConfigError

if TYPE_CHECKING:
    import asyncio

T = TypeVar("T")


def driver_of(connection: Any) -> str:
    """The driver's module, also of a connection whose class a program has derived from the driver's."""
    modules = [each.__module__.partition(".")[0] for each in type(connection).__mro__]
    return next((each for each in modules if each in _RUN or hasattr(sys.modules.get(each), "paramstyle")), modules[0])


async def using_awaited(given: Any, do: Callable[[Any], T]) -> T:
    """`do`, called in a thread with this connection as one of DB-API. Nothing is run on it once the caller is cancelled.

    Raises ConfigError for a connection that is in no transaction and begins none.
    """
    import asyncio

    idle = given.info.transaction_status == 0 and given.autocommit if driver_of(given) == "psycopg" else False
    if idle or (driver_of(given) == "asyncpg" and not given.is_in_transaction()):
        raise ConfigError(
            "session: the connection is in no transaction: enqueue within `async with connection.transaction()`"
        )
    connection = AwaitedConnection(given, asyncio.get_running_loop())
    doing = asyncio.ensure_future(asyncio.to_thread(do, connection))
    try:
        return await asyncio.shield(doing)
    except asyncio.CancelledError:
        connection.over = True
        with contextlib.suppress(Exception):
            await doing
        raise


def is_awaited(given: Any) -> bool:
    """Whether this is an open connection of aiosqlite, asyncpg or psycopg whose methods are coroutines."""
    driver = driver_of(given)
    return driver in _RUN and (driver != "psycopg" or inspect.iscoroutinefunction(getattr(given, "commit", None)))


class AwaitedConnection:
    """What `Caller` needs of a connection, and all that it is used for."""

    def __init__(self, given: Any, loop: asyncio.AbstractEventLoop) -> None:
        self.driver_connection = given
        self.over = False
        """Whether who enqueued has stopped waiting: the connection may be in another transaction by now."""
        self._loop = loop

    def cursor(self) -> AwaitedCursor:
        return AwaitedCursor(self)

    def commit(self) -> None: ...  # which is the caller's

    def run(self, sql: str, values: Any) -> tuple[list[Any], int]:
        if self.over:
            raise RuntimeError("who enqueued was cancelled")
        import asyncio

        given = self.driver_connection
        return asyncio.run_coroutine_threadsafe(_RUN[driver_of(given)](given, sql, values), self._loop).result()


class AwaitedCursor:
    def __init__(self, connection: AwaitedConnection) -> None:
        self._connection = connection
        self._rows: list[Any] = []
        self.rowcount = -1

    def execute(self, sql: str, values: Any = ()) -> AwaitedCursor:
        self._rows, self.rowcount = self._connection.run(sql, values)
        return self

    def fetchone(self) -> Any:
        return self._rows.pop(0) if self._rows else None

    def fetchmany(self, count: int) -> list[Any]:
        found, self._rows = self._rows[:count], self._rows[count:]
        return found

    def fetchall(self) -> list[Any]:
        return self.fetchmany(len(self._rows))

    def __iter__(self) -> Any:
        return iter(self.fetchall())


async def _aiosqlite(given: Any, sql: str, values: Any) -> tuple[list[Any], int]:
    async with given.cursor() as cursor:
        cursor.row_factory = None  # plain tuples, whatever the caller has set
        await cursor.execute(sql, values)
        return list(await cursor.fetchall()), cursor.rowcount


async def _psycopg(given: Any, sql: str, values: Any) -> tuple[list[Any], int]:
    from psycopg.rows import tuple_row

    async with given.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute(sql, values)
        return await cursor.fetchall() if cursor.description is not None else [], cursor.rowcount


async def _asyncpg(given: Any, sql: str, values: Any) -> tuple[list[Any], int]:
    statement = await given.prepare(sql)
    rows = await statement.fetch(*values)
    count = (statement.get_statusmsg() or "").rpartition(" ")[2]  # such as "INSERT 0 3"
    return [tuple(row) for row in rows], int(count) if count.isdecimal() else -1


_RUN: dict[str, Callable[[Any, str, Any], Coroutine[Any, Any, tuple[list[Any], int]]]] = {
    "aiosqlite": _aiosqlite,
    "psycopg": _psycopg,
    "asyncpg": _asyncpg,
}
"""By the driver: run a statement; returns its rows, as tuples, and how many it has changed."""
