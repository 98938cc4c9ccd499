"""The demo's report: the measures of files, added up by package, as a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePath

import msgspec

from longboat.cli.demo_tasks import Measures

SINGLE = "(single files)"
"""Stands for modules that are in no package."""


class PackageRow(msgspec.Struct):
    """The measures of a package's files, added up."""

    package: str
    files: int = 0
    unparsed: int = 0
    lines: int = 0
    functions: int = 0
    classes: int = 0
    branches: int = 0
    longest: str = ""
    longest_lines: int = 0

    def add(self, name: str, measures: Measures) -> None:
        """Add one file; `name` says where its longest function is."""
        self.files += 1
        self.unparsed += not measures.parses
        self.lines += measures.lines
        self.functions += measures.functions
        self.classes += measures.classes
        self.branches += measures.branches
        if measures.longest_lines > self.longest_lines:
            self.longest, self.longest_lines = f"{name}:{measures.longest}", measures.longest_lines


def reduce(measured: Mapping[str, Measures]) -> list[PackageRow]:
    """One row per package, the largest first, whatever the order of the files; `measured` is by path in the library."""
    rows: dict[str, PackageRow] = {}
    for name, measures in sorted(measured.items()):
        package = PurePath(name).parts[0] if len(PurePath(name).parts) > 1 else SINGLE
        rows.setdefault(package, PackageRow(package)).add(name, measures)
    return sorted(rows.values(), key=lambda row: (-row.lines, row.package))


def total(measured: Mapping[str, Measures]) -> PackageRow:
    row = PackageRow("all")
    for name, measures in sorted(measured.items()):
        row.add(name, measures)
    return row


def table(rows: list[PackageRow], last: PackageRow, shown: int) -> Iterator[str]:
    """The lines of a table of the largest packages, one line for the others, and the sum."""
    yield f"{'package':<18}{'files':>7}{'lines':>10}{'functions':>11}{'classes':>9}{'branches':>10}  longest function"
    for row in rows[:shown]:
        yield _line(row)
    if rows[shown:]:
        yield f"… and {len(rows) - shown} more"
    yield _line(last)
    if last.unparsed:
        yield f"{last.unparsed} of these files do not parse; only their lines are counted."


def _line(row: PackageRow) -> str:
    counts = f"{row.files:>7,}{row.lines:>10,}{row.functions:>11,}{row.classes:>9,}{row.branches:>10,}"
    longest = f"{row.longest} ({row.longest_lines})" if row.longest else "none"
    return f"{row.package:<18}{counts}  {longest}"
