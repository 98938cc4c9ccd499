"""`python -m bench.latency [--repeat 3] [--quick]`: measure, print a table, write it to bench/results/."""

from __future__ import annotations

import sys

from bench.command import measure
from bench.latency.beside import KINDS, OURS, PARTS, PEERS
from bench.latency.chart import Box, spread
from bench.latency.load import PERCENTS
from bench.redis.server import version
from bench.report import Edition, Found

ABOUT = (
    "Jobs are due at a steady rate, whatever has become of those before them, and each time is counted from the moment at "
    "which its job was due (`bench/latency/load.py`). The percentages are of the rate that goes through: what starts in a "
    "second while the caller, on the same processors, enqueues as fast as the worker takes. All jobs tell their start; the "
    "caller awaits the results of 500 a second."
)


def boxes(found: Found) -> str:
    values = {figure.name: figure.value for figure in found["beside"]}
    panels = {
        f"from due to {kind}": [
            Box(name, part, [values[f"{name}, {part} %, to {kind}, p{percent:g}"] for percent in PERCENTS])
            for name in (OURS, *(peer.name for peer in PEERS))
            for part in PARTS
        ]
        for kind in KINDS
    }
    return spread("Latency under an open load, on Redis", panels)


def main() -> int:
    charts = {"latency-boxes.svg": boxes}
    store = ("Redis", version())
    edition = Edition("latency", "Latency under an open load", "bench/latency/load.py", store, charts, ABOUT)
    return measure("bench.latency", ("beside",), edition)


if __name__ == "__main__":
    sys.exit(main())
