"""`python -m bench.redis [name…] [--repeat 3] [--quick]`: measure, print a table, write it to bench/results/."""

from __future__ import annotations

import sys

from bench.chart import speeds
from bench.command import measure
from bench.peers.beside import bars
from bench.redis.peers_beside import OURS
from bench.redis.server import version
from bench.report import Edition, Found

NAMES = ("drain", "peers_beside", "enqueue", "roundtrip", "depth", "sizes", "memory")


def peers(found: Found) -> str | None:
    if "peers_beside" not in found:
        return None
    return speeds("No-op jobs a second on Redis, one worker process", bars(found["peers_beside"], OURS))


def main() -> int:
    charts = {"redis-peers.svg": peers}
    return measure("bench.redis", NAMES, Edition("redis", "Redis", "bench/redis/limit.py", ("Redis", version()), charts))


if __name__ == "__main__":
    sys.exit(main())
