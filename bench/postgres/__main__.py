"""`python -m bench.postgres [name…] [--repeat 3] [--quick]`: measure, print a table, write it to bench/results/."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata

from bench.chart import speeds
from bench.command import measure
from bench.peers.beside import bars
from bench.postgres.peers_beside import OURS
from bench.report import Edition, Found
from tests.rigs.servers.postgres import programs

NAMES = ("drain", "peers_beside", "enqueue", "bloat", "decay")


def peers(found: Found) -> str | None:
    if "peers_beside" not in found:
        return None
    return speeds("No-op jobs a second on PostgreSQL, one worker process", bars(found["peers_beside"], OURS))


def main() -> int:
    bin_folder = programs()
    said = (
        subprocess.run([str(bin_folder / "postgres"), "--version"], check=True, stdout=subprocess.PIPE, text=True)
        if bin_folder
        else None
    )
    server = said.stdout.split()[2] if said else "none"
    about = f"{server} (fsync on, synchronous_commit on), psycopg {metadata.version('psycopg')}"
    charts = {"postgres-peers.svg": peers}
    return measure(
        "bench.postgres", NAMES, Edition("postgres", "PostgreSQL", "bench/postgres/limit.py", ("PostgreSQL", about), charts)
    )


if __name__ == "__main__":
    sys.exit(main())
