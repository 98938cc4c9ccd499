"""The layout of the store: created, brought up to date, and refused where this Longboat does not know it.

The file may be another program's as well, so every name in it begins with "longboat_".
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from longboat.errors import BrokerError, StoreTooNew

APPLICATION_ID = 0x4C424F54
"""Written into a file that Longboat has made, for itself."""

LAYOUT = 4
"""The version that schema.sql creates. 1 and 2 were written before the first release; in 3 no name had the prefix."""
_BEFORE_PREFIX = 3


def is_current(db: sqlite3.Connection, path: str) -> bool:
    """False: create it. Raises StoreTooNew, or BrokerError for a store that is too old."""
    version = _version(db)
    if version > LAYOUT:
        raise StoreTooNew(f"{path} was written by a newer Longboat (layout {version}, this one knows {LAYOUT}): upgrade.")
    if 0 < version < _BEFORE_PREFIX:
        raise BrokerError(
            f"{path} was written by a Longboat of before the first release (layout {version}, this one reads {LAYOUT}). "
            "Let the version that wrote it finish its jobs; then move the file aside, and a new one is made."
        )
    return version == LAYOUT


def create(db: sqlite3.Connection, path: str) -> None:
    """Create the tables, or bring them up to date, unless another process just has. Call it with the file lock held."""
    db.execute("BEGIN IMMEDIATE")
    try:
        if not is_current(db, path):
            write(db)
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def write(db: sqlite3.Connection) -> None:
    """The same, within a transaction that is begun, if the layout is not current."""
    own = not db.execute("SELECT EXISTS (SELECT 1 FROM sqlite_schema)").fetchone()[0]
    statements = _statements(Path(__file__).with_name("schema.sql").read_text("utf-8"))
    if _version(db) == _BEFORE_PREFIX:
        own, statements = True, _renamed(db, statements)
    for statement in statements:
        db.execute(statement)
    if own:
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute(f"PRAGMA user_version = {LAYOUT}")
    else:
        db.execute(f"CREATE TABLE longboat_layout AS SELECT {LAYOUT} AS version")


def _version(db: sqlite3.Connection) -> int:
    """0: there is no store in the file. It says so itself if Longboat made it; in another program's file a table does."""
    application, version = (db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version"))
    if application == APPLICATION_ID:
        return int(version)
    if not db.execute("SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'longboat_layout')").fetchone()[0]:
        return 0
    return int(db.execute("SELECT version FROM longboat_layout").fetchone()[0])


def _renamed(db: sqlite3.Connection, statements: list[str]) -> list[str]:
    """Give the tables of layout 3 their prefix. Returns what of schema.sql is still to be run."""
    for (index,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL").fetchall():
        db.execute(f"DROP INDEX {index}")
    for (table,) in db.execute(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
    ).fetchall():
        db.execute(f"ALTER TABLE {table} RENAME TO longboat_{table}")
    return [each for each in statements if "INDEX longboat_" in each or "TABLE longboat_layout" in each]


def _statements(script: str) -> list[str]:
    """The statements of a script, one by one: executescript would commit before it begins."""
    found, gathered = [], ""
    for line in script.splitlines(keepends=True):
        gathered += line
        if sqlite3.complete_statement(gathered):
            found.append(gathered)
            gathered = ""
    return found
