"""`python -m bench.pools [--repeat 3] [--quick]`: measure, print a table, write it to bench/results/."""

from __future__ import annotations

import sqlite3
import sys

from bench.command import measure
from bench.report import Edition


def main() -> int:
    store = ("SQLite", sqlite3.sqlite_version)
    return measure("bench.pools", ("beside",), Edition("pools", "Executor and Pool", "bench/pools/beside.py", store))


if __name__ == "__main__":
    sys.exit(main())
