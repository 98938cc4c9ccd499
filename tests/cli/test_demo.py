"""The demo's pure parts: measuring, adding up, comparing. The whole of it runs in tests/cli/test_demo_runs.py."""

from __future__ import annotations

import ast
import os
import sysconfig
from pathlib import Path

import pytest

from longboat.cli.demo import PUT, Work, compare, progress, share, sources
from longboat.cli.demo_report import SINGLE, PackageRow, reduce, table, total
from longboat.cli.demo_tasks import Measures, digest, measure, measure_source
from longboat.cli.demo_worker import DemoFailed

SOURCE = b"""\
class C:
    def short(self): return [x for x in y if x] if y else None

    async def long(self):
        try:
            async for a in b:
                while a: pass
        except E:
            match a:
                case 1: pass
                case _: pass

def as_long():
    # 1
    # 2
    # 3
    # 4
    # 5
    # 6
    pass
"""


def test_everything_is_counted_once() -> None:
    # as_long is the outermost of two; branches: comprehension, IfExp, async for, while, except, two cases
    assert measure_source(SOURCE) == Measures(True, 20, 3, 1, 7, "as_long", 8)


@pytest.mark.parametrize("source", [b"", b"\n", b"# -*- coding: latin-1 -*-\nx = '\xe9'\n"])
def test_sources_without_functions(source: bytes) -> None:
    assert measure_source(source) == Measures(True, source.count(b"\n"))


@pytest.mark.parametrize(
    "source", [b"print 'old'\n", b"x = '\xff'\n", b"# -*- coding: no-such -*-\n", b"def f(:\n", b"a\0b\n"]
)
def test_what_does_not_parse_has_lines_only(source: bytes) -> None:
    assert measure_source(source) == Measures(False, 1)


def test_warnings_of_the_source_are_its_own() -> None:
    assert measure_source(b"x = '\\d' is 3\n").parses  # a SyntaxWarning would be an error here


def test_tasks_run_here_when_called(tmp_path: Path) -> None:
    path = tmp_path / "x.py"
    path.write_bytes(SOURCE)
    assert measure(str(path)) == measure_source(SOURCE)
    assert len(digest(str(path))) == 64


def test_sources_are_the_library_and_nothing_installed() -> None:
    found = sources()
    assert {"ast.py", os.path.join("asyncio", "tasks.py")} <= found.keys()
    assert found["ast.py"] == os.path.join(sysconfig.get_path("stdlib"), "ast.py") == ast.__file__
    assert not [name for name in found if "-packages" in name or not name.endswith(".py")]


def test_report_is_the_same_in_any_order() -> None:
    measured = {
        "a.py": Measures(True, 5, 1, 0, 2, "f", 3),
        os.path.join("pkg", "b.py"): Measures(True, 10, 2, 1, 1, "g", 7),
        os.path.join("pkg", "sub", "c.py"): Measures(True, 20, 2, 1, 1, "h", 7),
        os.path.join("pkg", "bad.py"): Measures(False, 1),
    }
    rows = reduce(measured)
    longest = f"{os.path.join('pkg', 'b.py')}:g"
    assert rows == [PackageRow("pkg", 3, 1, 31, 4, 2, 2, longest, 7), PackageRow(SINGLE, 1, 0, 5, 1, 0, 2, "a.py:f", 3)]
    assert reduce(dict(reversed(measured.items()))) == rows
    lines = list(table(rows, total(measured), 1))
    assert [line.split()[0] for line in lines] == ["package", "pkg", "…", "all", "1"]
    assert lines[3].split()[1:7] == ["4", "36", "5", "2", "4", longest]


def test_a_difference_is_named() -> None:
    same = Work({"a.py": Measures(True, 5)}, {"a.py": "00"}, 1.0)
    compare(same, same._replace(took=2.0))
    with pytest.raises(DemoFailed, match=r"1 results differ.*a\.py"):
        compare(same, same._replace(measures={"a.py": Measures(True, 6)}))
    with pytest.raises(DemoFailed, match=r"b\.py"):
        compare(same, same._replace(digests={"a.py": "00", "b.py": "01"}))


@pytest.mark.parametrize("length", [0, 1, 7, 200, 1790])
def test_shares_are_everything_once(length: int) -> None:
    parts = [share(range(length), number, 18) for number in range(18)]
    assert [item for part in parts for item in part] == list(range(length))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert max(map(len, parts)) <= PUT


def test_progress_is_sparse_away_from_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with progress(1000) as advance:
        for _ in range(1000):
            advance(1)
    lines = capsys.readouterr().out.splitlines()
    assert [" ".join(line.split()) for line in lines] == [f"{n} % {n * 10:,} of 1,000" for n in (20, 40, 60, 80, 100)]
