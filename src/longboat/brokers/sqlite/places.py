"""Where in time jobs were put: the first half of a generated id, or what is remembered under the id."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from longboat.job import order_of


def places(db: sqlite3.Connection, ids: Iterable[str]) -> dict[str, int]:
    """The places of the jobs with these ids; those chosen by callers, and those that take turns, are known by name."""
    found = {}
    turns = bool(db.execute("SELECT EXISTS (SELECT 1 FROM turns)").fetchone()[0])
    for job_id in ids:
        seq = order_of(job_id)
        if seq is None or turns:
            row = db.execute("SELECT seq FROM names WHERE id = ?", (job_id,)).fetchone()
            seq = row[0] if row else seq
        if seq is not None:
            found[job_id] = seq
    return found
