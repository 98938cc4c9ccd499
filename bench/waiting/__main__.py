"""`python -m bench.waiting`: an open load of jobs that coroutines enqueue and await, on Redis."""

from __future__ import annotations

import sys

from bench.command import measure
from bench.redis.server import version
from bench.report import Edition

if __name__ == "__main__":
    edition = Edition("waiting", "Waiting for results", "bench/redis/limit.py", ("Redis", version()))
    sys.exit(measure("bench.waiting", ("load",), edition))
