"""A caller's own connection: found inside what SQLAlchemy or Django hand out, and used as the store uses its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg.rows import tuple_row

from longboat.errors import ConfigError


class CallersConnection:
    """Rows are tuples and nothing is prepared, whatever the caller has set on the connection."""

    def __init__(self, given: Any) -> None:
        """Raises ConfigError, which says what may be given, for anything else."""
        self.driver = _driver_connection(given)

    def query(self, text: bytes, values: Mapping[str, Any]) -> Any:
        cursor = psycopg.Cursor(self.driver, row_factory=tuple_row)
        return cursor.execute(text, values, prepare=False, binary=True)


def _driver_connection(given: Any) -> psycopg.Connection[Any]:
    found = given
    if hasattr(found, "get_bind") and callable(getattr(found, "connection", None)):
        found = found.connection()  # a Session of SQLAlchemy: its Connection
    if hasattr(found, "ensure_connection"):
        found.ensure_connection()  # Django opens late
    if not isinstance(found, psycopg.Connection):
        found = getattr(found, "connection", found)  # Django's is the driver's, SQLAlchemy's leads to it
        found = getattr(found, "driver_connection", found)
    if not isinstance(found, psycopg.Connection):
        raise ConfigError(
            f"connection: {type(given).__qualname__} is no open connection of psycopg 3, nor a SQLAlchemy Connection or "
            "Session (postgresql+psycopg://) or a Django connection that uses it"
        )
    return found
