"""The layout of the store: created, recognised, and refused where it is not this one."""

from __future__ import annotations

import sqlite3
from importlib.resources import files

from longboat.errors import BrokerError, StoreTooNew

APPLICATION_ID = 0x4C424F54
"""Written into the file, so that it is told from other programs' databases."""

LAYOUT = 3
"""The version that schema.sql creates. 1 and 2 were written before the first release."""


def is_current(db: sqlite3.Connection, path: str) -> bool:
    """False: the file is empty. Raises StoreTooNew, or BrokerError for an older store or another program's file."""
    application, version = (db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version"))
    if application != APPLICATION_ID:
        if application or version or db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
            raise BrokerError(f"{path} is another program's SQLite database; give Longboat a file of its own.")
        return False
    if version > LAYOUT:
        raise StoreTooNew(f"{path} was written by a newer Longboat (layout {version}, this one knows {LAYOUT}): upgrade.")
    if version < LAYOUT:
        raise BrokerError(
            f"{path} was written by a Longboat of before the first release (layout {version}, this one reads {LAYOUT}). "
            "Let the version that wrote it finish its jobs; then move the file aside, and a new one is made."
        )
    return True


def create(db: sqlite3.Connection, path: str) -> None:
    """Create the tables, all or none, unless another process just has. Call it with the file lock held."""
    db.execute("BEGIN IMMEDIATE")
    try:
        if not is_current(db, path):
            for statement in _statements(files("longboat.brokers.sqlite").joinpath("schema.sql").read_text("utf-8")):
                db.execute(statement)
            db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            db.execute(f"PRAGMA user_version = {LAYOUT}")
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
