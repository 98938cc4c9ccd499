"""The demo's app: one task for each executor, and the measuring of one source file."""

from __future__ import annotations

import ast
import asyncio
import hashlib
import warnings
from pathlib import Path

import msgspec

from longboat import Longboat

app = Longboat()


class Measures(msgspec.Struct, frozen=True):
    """What is counted in one source file."""

    parses: bool
    """False if it is not valid source for this Python; then only its lines are counted."""
    lines: int
    functions: int = 0
    classes: int = 0
    branches: int = 0
    longest: str = ""
    """The longest function; of equally long ones, the outermost."""
    longest_lines: int = 0


_BRANCHES = (ast.If, ast.IfExp, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler, ast.match_case, ast.comprehension)


def measure_source(source: bytes) -> Measures:
    """Measure a file's bytes. The same bytes give the same measures in any process."""
    lines = len(source.splitlines())
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the source being measured
            tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return Measures(parses=False, lines=lines)
    functions = classes = branches = longest_lines = 0
    longest = ""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            functions += 1
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > longest_lines:
                longest, longest_lines = node.name, length
        elif isinstance(node, ast.ClassDef):
            classes += 1
        elif isinstance(node, _BRANCHES):
            branches += 1
    return Measures(True, lines, functions, classes, branches, longest, longest_lines)


@app.task(executor="process")
def measure(path: str) -> Measures:
    """Runs in a child process: parsing uses the CPU."""
    return measure_source(Path(path).read_bytes())


@app.task
def digest(path: str) -> str:
    """Runs in a thread: reading and hashing release the GIL."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


@app.task
async def nap(seconds: float) -> float:
    """Runs in the event loop: waiting costs nothing."""
    await asyncio.sleep(seconds)
    return seconds
