"""`python -m bench [name…] [--repeat 3] [--quick]`: measure, print a table, write it to bench/results/."""

from __future__ import annotations

import sqlite3
import sys

from bench.command import measure
from bench.report import Edition

NAMES = ("drain", "enqueue", "roundtrip", "io", "cpu", "depth", "idle")

EDITION = Edition("embedded", "The embedded default", "bench/limit.py", ("SQLite", sqlite3.sqlite_version))

if __name__ == "__main__":
    sys.exit(measure("bench", NAMES, EDITION))
