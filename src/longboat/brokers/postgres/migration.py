"""The store's tables: made, and recognised by the version of their layout."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from longboat.errors import BrokerError, StoreTooNew

Connection = psycopg.Connection[Any]

LAYOUT = 4
"""The version of schema.sql, which writes it down. Layouts 1 and 2 were never released."""
_STEPS = {3: "ALTER TABLE @.blocked ADD COLUMN name bytea NOT NULL DEFAULT '';\nUPDATE @.version SET version = 4;\n"}
"""By layout: the SQL that makes the next one of it, while older processes go on."""


def quoted(schema: str) -> str:
    """The schema's name as SQL spells it."""
    return sql.Identifier(schema).as_string(None)


def layout(conn: Connection, schema: str) -> int:
    """The version of the store's layout, or 0 if there is no store.

    Raises StoreTooNew, or BrokerError for a layout that is too old and for a schema that belongs to another program.
    """
    # Not by to_regclass, which may remember that there was none before another process made it.
    found = conn.execute(
        "SELECT c.relname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace "
        "WHERE n.nspname = %s AND c.relname IN ('version', 'jobs')",
        (schema,),
    ).fetchall()
    if ("version",) not in found:
        if ("jobs",) in found:
            raise BrokerError(f"the schema {schema!r} holds another program's tables: choose another one (?schema=…)")
        return 0
    row = conn.execute(f"SELECT max(version) FROM {quoted(schema)}.version".encode()).fetchone()
    stored = int(row[0] or 0) if row else 0
    if stored > LAYOUT:
        raise StoreTooNew(
            f"the schema {schema!r} was written by a newer Longboat (its layout is {stored}, this one knows {LAYOUT}): "
            "upgrade Longboat"
        )
    if stored < min(_STEPS):
        raise BrokerError(
            f"the schema {schema!r} was written by an older Longboat (its layout is {stored}, this one needs {LAYOUT}) and "
            "cannot be migrated: choose another schema (?schema=…) and let workers of the older Longboat finish the jobs in "
            f"this one, or delete it with all its jobs (DROP SCHEMA {quoted(schema)} CASCADE)"
        )
    return stored


def script(schema: str, stored: int) -> str:
    """The SQL that makes a store of this layout one of LAYOUT; of layout 0, a store."""
    if stored:
        text = "".join(_STEPS[each] for each in range(stored, LAYOUT))
    else:
        tables = Path(__file__).with_name("schema.sql").read_text("utf-8")
        text = f"CREATE SCHEMA IF NOT EXISTS {quoted(schema)};\n\n{tables}"
    return text.replace("@.", f"{quoted(schema)}.")


class Migrations:
    """What `longboat migrate` needs of a store."""

    def __init__(self, bare: Callable[[Callable[[Connection], Any]], Any], schema: str) -> None:
        self._bare = bare
        self._schema = schema

    def plan(self) -> tuple[int, int, str]:
        """(the store's layout, the newest, the SQL that leads there). Raises as `layout`."""
        stored: int = self._bare(lambda conn: layout(conn, self._schema))
        return stored, LAYOUT, script(self._schema, stored)

    def run(self) -> None:
        self._bare(lambda conn: migrate(conn, self._schema))


def migrate(conn: Connection, schema: str) -> None:
    """Make the tables, or bring them up to date: all or nothing, one process at a time. Raises as `layout`."""
    if layout(conn, schema) == LAYOUT:
        return
    with conn.transaction():
        conn.execute("SELECT pg_advisory_xact_lock(%s)", (zlib.crc32(f"longboat {schema}".encode()),))
        stored = layout(conn, schema)
        if stored != LAYOUT:
            conn.execute(script(schema, stored).encode())
