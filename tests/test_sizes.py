"""Files and functions stay small enough to be read in one go."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent

FILE_LINES = 400
FUNCTION_LINES = 60

# "file" or "file:function" -> why it may be longer.
EXCEPTIONS: dict[str, str] = {}


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
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > FUNCTION_LINES:
                    yield f"{name}:{node.name}", lines
