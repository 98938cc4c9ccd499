"""The psycopg connection inside what callers hold: psycopg's own, SQLAlchemy's or Django's."""

from __future__ import annotations

from typing import Any

import psycopg

from longboat.errors import ConfigError


def driver_connection(given: Any) -> psycopg.Connection[Any]:
    """Raises ConfigError for what is none, saying what may be given."""
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
