"""`python -m bench.flows`: figures of jobs that depend on each other, on the embedded default."""

from __future__ import annotations

import sqlite3
import sys

from bench.command import measure
from bench.report import Edition

EDITION = Edition("flows", "Flows", "bench/limit.py", ("SQLite", sqlite3.sqlite_version))

if __name__ == "__main__":
    sys.exit(measure("bench.flows", ("beside",), EDITION))
