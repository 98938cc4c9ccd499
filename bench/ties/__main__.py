"""`python -m bench.ties`: figures of jobs that depend on each other, on the embedded default."""

from __future__ import annotations

import sqlite3
import sys

from bench.command import measure
from bench.report import Edition

NAMES = ("flows",)

EDITION = Edition("ties", "Flows", "bench/limit.py", ("SQLite", sqlite3.sqlite_version))

if __name__ == "__main__":
    sys.exit(measure("bench.ties", NAMES, EDITION))
