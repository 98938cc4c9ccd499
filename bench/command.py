"""The command line of a bench: measure what is named, print a table, write the report."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib import import_module

from bench import report
from bench.figure import Figure, Plan
from bench.report import Edition


def measure(package: str, names: Sequence[str], edition: Edition) -> int:
    """`names`: modules of the package, each with `figures(plan, tell)`; they run in this order."""
    parser = argparse.ArgumentParser(
        prog=f"python -m {package}", description=f"{edition.title}: figures beside their limits."
    )
    parser.add_argument("names", nargs="*", metavar="name", help=f"what to measure: {', '.join(names)}; all unless given")
    parser.add_argument("--repeat", type=int, default=3, help="how often each is measured (default 3)")
    parser.add_argument("--quick", action="store_true", help="once, and less of it; nothing is written")
    parser.add_argument("--shared", action="store_true", help="say that other programs use the machine meanwhile")
    chosen = parser.parse_args()
    if unknown := set(chosen.names) - set(names):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    plan = Plan(1 if chosen.quick else max(1, chosen.repeat), chosen.quick, chosen.shared)
    found: dict[str, list[Figure]] = {}
    before = report.machine(edition)
    report.head()
    for name in chosen.names or names:
        found[name] = []
        for figure in import_module(f"{package}.{name}").figures(plan, report.tell):
            found[name].append(figure)
            report.row(figure)
    if not chosen.quick:
        report.write(edition, found, plan, before)
    missed = [figure.name for figures in found.values() for figure in figures if figure.met is False]
    print(f"\n{len(missed)} of the goals missed{': ' if missed else ''}{'; '.join(missed)}")
    return 0
