"""The store's schema: made, recognised, and brought up to date in one transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from importlib.resources import files

from longboat.errors import BrokerError, StoreTooNew

APPLICATION_ID = 0x4C424F54
"""Written into the file, so that it is told from other programs' databases."""


def _step(name: str) -> str:
    return files("longboat.brokers.sqlite").joinpath(name).read_text("utf-8")


STEPS: Sequence[str] = (_step("schema.sql"), _step("schema2.sql"))
"""The SQL that leads from each version to the next; the length is the newest version. A released step never changes."""


def is_current(db: sqlite3.Connection, path: str, steps: Sequence[str] = STEPS) -> bool:
    """Whether nothing need be done. Raises StoreTooNew, or BrokerError for another program's file."""
    application, version = (db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version"))
    if application != APPLICATION_ID:
        if application or version or db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
            raise BrokerError(f"{path} is another program's SQLite database; give Longboat a file of its own.")
        return False
    if version > len(steps):
        raise StoreTooNew(
            f"{path} was written by a newer Longboat (schema {version}, this one knows {len(steps)}): upgrade."
        )
    return bool(version == len(steps))


def migrate(db: sqlite3.Connection, path: str, steps: Sequence[str] = STEPS) -> None:
    """Bring the schema up to date; all or nothing. Call it with the gate held."""
    db.execute("BEGIN IMMEDIATE")
    try:
        if not is_current(db, path, steps):
            version = db.execute("PRAGMA user_version").fetchone()[0]
            for step in steps[version:]:
                for statement in _statements(step):
                    db.execute(statement)
            db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            db.execute(f"PRAGMA user_version = {len(steps)}")
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def _statements(script: str) -> list[str]:
    """The statements of a script, one by one: executescript would commit before it begins."""
    found, gathered = [], ""
    for line in script.splitlines(keepends=True):
        gathered += line
        if sqlite3.complete_statement(gathered):
            found.append(gathered)
            gathered = ""
    return found
