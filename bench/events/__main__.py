"""`python -m bench.events [name…] [--repeat 3] [--quick]`: what it costs a worker to be watched."""

from __future__ import annotations

import sqlite3
import sys

from bench.command import measure
from bench.redis.server import version
from bench.report import Edition

NAMES = ("parts", "sqlite", "redis")

STORES = f"{sqlite3.sqlite_version}; Redis {version()}"

EDITION = Edition("events", "Events and history", "bench/events/drain.py", ("SQLite", STORES))

if __name__ == "__main__":
    sys.exit(measure("bench.events", NAMES, EDITION))
