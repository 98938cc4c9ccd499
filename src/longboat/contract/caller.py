"""A caller's own database connection: found inside what SQLAlchemy, Django or a driver hand out, as one plain DB-API."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

from longboat.contract.awaited import driver_of, is_awaited
from longboat.errors import ConfigError

_VENDORS = {
    "sqlite3": "sqlite",
    "aiosqlite": "sqlite",
    **dict.fromkeys(("psycopg", "psycopg2", "pg8000", "asyncpg"), "postgresql"),
}
"""By the driver's module."""
_STYLES = {"asyncpg": "numeric_dollar"}
"""Of drivers that do not name theirs."""


class Caller:
    """A connection, within the transaction that it is in, or that its next statement begins."""

    def __init__(self, given: Any) -> None:
        """`given`: a connection of a DB-API driver, of Django or of SQLAlchemy, or a Session. Raises ConfigError."""
        found, vendor, style = given, "", ""
        if hasattr(given, "run_sync") or is_awaited(given):
            raise ConfigError(f"session: {_kind(given)} is asynchronous: `await` aenqueue, which can use it")
        if hasattr(found, "get_bind") and callable(getattr(found, "connection", None)):
            found = found.connection()  # a Session of SQLAlchemy: its Connection
        if hasattr(found, "exec_driver_sql"):  # SQLAlchemy's Connection
            if not found.in_transaction():
                found.begin()  # as a statement of its own would: otherwise its commit() commits nothing
            vendor, style = found.dialect.name, found.dialect.paramstyle
            found = found.connection
        elif hasattr(found, "ensure_connection"):  # Django's, which opens late
            found.ensure_connection()
            found = found.connection
        self.driver: Any = getattr(found, "driver_connection", found)
        """The driver's own connection; of an asynchronous driver, it is not to be called."""
        self._connection = found
        if not callable(getattr(found, "cursor", None)) or not callable(getattr(found, "commit", None)):
            raise ConfigError(
                f"session: {_kind(given)} is no open connection of a database driver, nor a Session or connection of "
                "SQLAlchemy or Django."
            )
        module = driver_of(self.driver)
        self.vendor = vendor or _VENDORS.get(module, module)
        """Such as "sqlite" or "postgresql"."""
        self.style = style or str(getattr(sys.modules.get(module), "paramstyle", _STYLES.get(module, "qmark")))
        """How the driver wants parameters, as PEP 249 names it."""

    def execute(self, sql: str, values: Any = ()) -> Any:
        """A cursor, after the statement."""
        cursor = self._connection.cursor()
        if self.vendor == "sqlite" and hasattr(cursor, "row_factory"):
            cursor.row_factory = None  # plain tuples, whatever the caller has set on the connection
        cursor.execute(sql, values)
        return cursor

    @contextlib.contextmanager
    def savepoint(self) -> Iterator[None]:
        """What raises within it leaves nothing; without a transaction around it, it is one."""
        self.execute("SAVEPOINT longboat")
        try:
            yield
        except BaseException:
            with contextlib.suppress(Exception):
                self.execute("ROLLBACK TO SAVEPOINT longboat")
                self.execute("RELEASE SAVEPOINT longboat")
            raise
        self.execute("RELEASE SAVEPOINT longboat")


def _kind(given: object) -> str:
    return f"{type(given).__module__}.{type(given).__qualname__}"
