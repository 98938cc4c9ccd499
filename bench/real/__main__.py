"""`python -m bench.real [name…] [--repeat 3] [--quick]`: measure, print a table, write it to bench/results/."""

from __future__ import annotations

import sys

from bench.command import measure
from bench.redis.server import version
from bench.report import Edition

NAMES = ("naps", "computing", "arguments", "failing")

EDITION = Edition("real", "Real jobs", "bench/real/loop.py", ("Redis", version()))

if __name__ == "__main__":
    sys.exit(measure("bench.real", NAMES, EDITION))
