"""Files and functions stay small enough to be read in one go, and constructors take few enough parts to be understood."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent

FILE_LINES = 400
FUNCTION_LINES = 60

# "file" or "file:function" -> why it may be longer.
EXCEPTIONS: dict[str, str] = {}

PARAMETERS = 6
"""Of a constructor, beside self."""


def test_no_file_or_function_is_too_long() -> None:
    files = [path for folder in ("src", "tests", "bench", "tools") for path in sorted((ROOT / folder).rglob("*.py"))]
    assert len(files) > 20
    long = dict(too_long(ROOT, files))
    new = [f"{what} has {lines} lines" for what, lines in long.items() if what not in EXCEPTIONS]
    assert not new, "\n".join(["too long (split it, or add it with its reason to EXCEPTIONS here):", *new])
    assert not (idle := EXCEPTIONS.keys() - long.keys()), f"no longer too long, take them off the list: {sorted(idle)}"
    assert all(EXCEPTIONS.values()), "every exception has a reason"


def test_long_ones_are_found(tmp_path: Path) -> None:
    path = tmp_path / "long.py"
    lines = [
        "async def f():",
        *["    x = 1"] * FUNCTION_LINES,
        "def g():",
        *["    x = 1"] * (FUNCTION_LINES - 1),
        *["y = 1"] * 400,
    ]
    path.write_text("\n".join(lines))
    assert dict(too_long(tmp_path, [path])) == {"long.py": len(lines), "long.py:f": FUNCTION_LINES + 1}


def too_long(root: Path, files: list[Path]) -> Iterator[tuple[str, int]]:
    for path in files:
        text = path.read_text()
        name = path.relative_to(root).as_posix()
        if (lines := len(text.splitlines())) > FILE_LINES:
            yield name, lines
        if lines <= FUNCTION_LINES:
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > FUNCTION_LINES:
                    yield f"{name}:{node.name}", lines


def test_no_constructor_takes_too_many_parameters() -> None:
    crowded = too_many(ROOT, sorted((ROOT / "src").rglob("*.py")))
    new = [f"{what} takes {count} parameters" for what, count in crowded]
    assert not new, "\n".join([f"more than {PARAMETERS} (give it parts that are made already):", *new])


def test_those_that_take_too_many_are_found(tmp_path: Path) -> None:
    path = tmp_path / "crowded.py"
    path.write_text(
        """
class Crowded:
    def __init__(self, a, b, /, c, d, *e, f, g=1, **h): ...
class Fine:
    def __init__(self, a, b, c, d, *, e, f): ...
    def other(self, a, b, c, d, e, f, g): ...
"""
    )
    assert dict(too_many(tmp_path, [path])) == {"crowded.py:Crowded": 8}


def too_many(root: Path, files: list[Path]) -> Iterator[tuple[str, int]]:
    for path in files:
        if "def __init__(" not in (text := path.read_text()):
            continue
        kinds = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ClassDef)]
        for kind in kinds:
            for node in kind.body:
                if isinstance(node, ast.FunctionDef) and node.name == "__init__":
                    given = node.args
                    all_of_them = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
                    count = sum(each is not None for each in all_of_them) - 1
                    if count > PARAMETERS:
                        yield f"{path.relative_to(root).as_posix()}:{kind.name}", count
