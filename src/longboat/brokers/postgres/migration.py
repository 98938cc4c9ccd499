"""The store's schema: made, recognised, and brought up to date in one transaction."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from importlib.resources import files
from typing import Any

from psycopg import sql

from longboat.brokers.postgres.link import TimedConnection
from longboat.errors import BrokerError, StoreTooNew


def _read(name: str) -> str:
    return files("longboat.brokers.postgres").joinpath(name).read_text("utf-8")


STEPS: Sequence[str] = (_read("schema.sql"), _read("constraints.sql"))
"""The SQL that leads from each version to the next; the length is the newest version. A released step never changes."""


def quoted(schema: str) -> str:
    """The schema's name as it stands in SQL."""
    return sql.Identifier(schema).as_string(None)


def version(link: TimedConnection, schema: str) -> int:
    """0: there is no store. Raises StoreTooNew, or BrokerError for a schema that is somebody else's."""
    # Not by to_regclass, which may remember that there was none before another process made it.
    found = link.execute(
        "SELECT c.relname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace "
        "WHERE n.nspname = %s AND c.relname IN ('version', 'jobs')",
        (schema,),
    ).fetchall()
    has_version, has_jobs = ("version",) in found, ("jobs",) in found
    if not has_version:
        if has_jobs:
            raise BrokerError(f"the schema {schema!r} holds another program's tables: choose another one (?schema=…)")
        return 0
    row = link.execute(f"SELECT max(version) FROM {quoted(schema)}.version".encode()).fetchone()
    its = int(row[0] or 0) if row else 0
    if its > len(STEPS):
        raise StoreTooNew(
            f"the schema {schema!r} was written by a newer Longboat (version {its}, this one knows {len(STEPS)}): upgrade."
        )
    return its


def script(schema: str, its: int) -> str:
    """The SQL that brings a store of this version up to date; empty for a current one."""
    steps = [step.replace("@.", f"{quoted(schema)}.") for step in STEPS[its:]]
    if its == 0 and steps:
        steps.insert(0, f"CREATE SCHEMA IF NOT EXISTS {quoted(schema)};\n")
    return "\n".join(steps)


class Migrations:
    """What `longboat migrate` needs of a store."""

    def __init__(self, bare: Callable[[Callable[[TimedConnection], Any]], Any], schema: str) -> None:
        self._bare = bare
        self._schema = schema

    def plan(self) -> tuple[int, int, str]:
        """(version of the store, the newest, the SQL that leads there). Raises StoreTooNew."""
        its: int = self._bare(lambda link: version(link, self._schema))
        return its, len(STEPS), script(self._schema, its)

    def run(self) -> None:
        self._bare(lambda link: migrate(link, self._schema))


def migrate(link: TimedConnection, schema: str) -> None:
    """Bring the schema up to date; all or nothing, one process at a time."""
    if version(link, schema) == len(STEPS):
        return
    with link.transaction():
        link.execute("SELECT pg_advisory_xact_lock(%s)", (zlib.crc32(f"longboat {schema}".encode()),))
        link.execute((script(schema, version(link, schema)) or "SELECT 1").encode())
