"""`python -m bench.pools [--repeat 3] [--quick]`: measure, print a table, write it to bench/results/."""

from __future__ import annotations

import sys
from importlib.metadata import version
from importlib.util import find_spec

from bench.command import measure
from bench.report import Edition


def main() -> int:
    others = ", ".join(f"{name} {version(name)}" for name in ("distributed", "numpy") if find_spec(name))
    store = ("joblib", f"{version('joblib')}, {others}; jobs in memory")
    return measure("bench.pools", ("beside",), Edition("pools", "Executor and Pool", "bench/pools/beside.py", store))


if __name__ == "__main__":
    sys.exit(main())
