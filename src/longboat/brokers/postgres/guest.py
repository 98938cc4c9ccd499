"""A caller's own connection, used as the store uses its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg.rows import tuple_row


class Guest:
    """Whatever the caller has set on the connection, rows are tuples, and nothing is prepared on it."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection

    def execute(self, text: bytes, values: Mapping[str, Any]) -> Any:
        cursor = psycopg.Cursor(self._connection, row_factory=tuple_row)
        return cursor.execute(text, values, prepare=False, binary=True)
