"""`python -m bench.postgres [--repeat 3] [--quick]`: measure, print a table, write it to bench/results/."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata

from bench.command import measure
from bench.report import Edition
from longboat.testing.servers.postgres import programs


def main() -> int:
    found = programs()
    said = (
        subprocess.run([str(found / "postgres"), "--version"], check=True, stdout=subprocess.PIPE, text=True)
        if found
        else None
    )
    server = said.stdout.split()[2] if said else "none"
    about = f"{server} (fsync on, synchronous_commit on), psycopg {metadata.version('psycopg')}"
    edition = Edition("postgres", "PostgreSQL", "bench/postgres/limit.py", ("PostgreSQL", about))
    return measure("bench.postgres", ("drain",), edition)


if __name__ == "__main__":
    sys.exit(main())
