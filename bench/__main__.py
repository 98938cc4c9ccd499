"""`python -m bench [name…] [--repeat 3] [--quick]`: measure, print a table, write it to bench/results/."""

from __future__ import annotations

import argparse
import sys
from importlib import import_module

from bench import report
from bench.figure import Figure, Plan

NAMES = ("drain", "enqueue", "roundtrip", "io", "cpu", "depth", "idle")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Longboat's figures, measured beside their limits.")
    parser.add_argument("names", nargs="*", metavar="name", help=f"what to measure: {', '.join(NAMES)}; all unless given")
    parser.add_argument("--repeat", type=int, default=3, help="how often each is measured (default 3)")
    parser.add_argument("--quick", action="store_true", help="once, and less of it; nothing is written")
    chosen = parser.parse_args()
    if unknown := set(chosen.names) - set(NAMES):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    plan = Plan(1 if chosen.quick else max(1, chosen.repeat), chosen.quick)
    found: dict[str, list[Figure]] = {}
    before = report.machine()
    report.head()
    for name in chosen.names or NAMES:
        found[name] = []
        for figure in import_module(f"bench.{name}").figures(plan, report.tell):
            found[name].append(figure)
            report.row(figure)
    if not chosen.quick:
        report.write(found, plan, before)
    missed = [figure.name for figures in found.values() for figure in figures if figure.met is False]
    print(f"\n{len(missed)} of the goals missed{': ' if missed else ''}{'; '.join(missed)}", file=sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
