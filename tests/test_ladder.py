"""The ladder: a file of the package imports only what stands above it. The list below is also the reading order."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

SRC = Path(__file__).parent.parent / "src" / "longboat"

# A name is a file or a folder of src/longboat. Those of one set are strangers to each other.
LADDER: list[str | set[str]] = [
    "errors",
    "clock",
    "ties",
    "job",
    "codec",
    "retry",
    "depends",
    "arguments",
    "handle",
    "flow",
    "signature",
    "rules",
    "template",
    "schedule",
    "task",
    "current",
    "middleware",
    "results",
    "inspector",
    "board",
    "transit",
    "broker",
    "executor",
    "events",
    "stream",
    "logs",
    "footprint",
    {"brokers", "executors"},
    "progress",
    "announcer",
    "outbox",
    "inbox",
    "connect",
    "move",
    "unique",
    "flows",
    "client",
    "gather",
    "history",
    "metrics",
    "pauses",
    "orders",
    "explain",
    "search",
    "requeue",
    "bulk",
    "scheduler",
    "worker",
    "door",
    "app",
    "__init__",  # the surface, `from longboat import Longboat`: for the edges below only
    "otel",
    "dashboard",
    "cli",
    "__main__",
    "testing",
]

RANK = {name: rank for rank, step in enumerate(LADDER) for name in ({step} if isinstance(step, str) else step)}

STRANGERS_WITHIN = {"brokers"}
"""Folders whose members are strangers to each other: sqlite.py and sqlite_schema.py (or sqlite/) are one member."""

NEVER = {("testing", "cli"), ("testing", "__main__")}
"""What may not be imported although it stands above."""


def test_imports_point_up_the_ladder() -> None:
    assert not (found := list(violations(SRC))), "\n".join(found)


def test_every_step_of_the_ladder_is_read_from_the_tree_as_it_is() -> None:
    homes = {home_of(path.relative_to(SRC).parts) for path in SRC.rglob("*.py")}
    assert {"errors", "broker", "task", "__init__"} <= homes


def test_a_wrong_import_is_found_wherever_it_stands(tmp_path: Path) -> None:
    files = {
        "errors.py": "import longboat.job",
        "job.py": "def f():\n    from longboat.broker import Broker",
        "codec.py": "if TYPE_CHECKING:\n    from longboat import client, errors",
        "task.py": "from longboat import Longboat",
        "brokers/redis.py": "from longboat.brokers.sqlite_schema import X\nfrom longboat.brokers import sqlite",
        "brokers/sqlite.py": "from longboat.brokers.sqlite_schema import X\nfrom longboat.executors import threads",
        "worker/worker.py": "from longboat.worker import runner\nfrom longboat.testing import FakeClock",
        "testing/clock.py": "from longboat.cli import main",
        "retry.py": "from . import errors",
        "new_thing.py": "",
        "cli/main.py": "from longboat import Longboat, codec",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert [line.split(": ", 1)[1] if "new_thing" not in line else "unknown" for line in violations(tmp_path)] == [
        "brokers.redis may not import brokers.sqlite",
        "brokers.redis may not import brokers.sqlite",
        "brokers may not import executors",
        "codec may not import client",
        "errors may not import job",
        "job may not import broker",
        "unknown",
        "retry uses a relative import",
        "task may not import __init__",
        "testing may not import cli",
        "worker may not import testing",
    ]


def violations(src: Path) -> Iterator[str]:
    """What breaks the rule, as `file:line: what`, in order of the files' names."""
    modules = {home_of(path.relative_to(src).parts) for path in src.rglob("*.py")} | RANK.keys()
    for path in sorted(src.rglob("*.py")):
        where = path.relative_to(src).parts
        home = home_of(where)
        if home not in RANK:
            yield (
                f"{path.name}:1: {home!r} has no place on the ladder yet: add it to LADDER in tests/test_ladder.py, "
                "below all that it imports and above all that imports it"
            )
            continue
        for target, line in imports(path, modules):
            problem = judge(where, home, target)
            if problem:
                yield f"{'/'.join(where)}:{line}: {problem}"


def judge(where: tuple[str, ...], home: str, target: tuple[str, ...]) -> str | None:
    name = target[0]
    if name == ".":
        return f"{home} uses a relative import"
    if name == home:
        here, there = member_of(where), member_of(target)
        if home in STRANGERS_WITHIN and there != here and "__init__" not in (here, there):
            return f"{home}.{here} may not import {home}.{there}"
        return None
    allowed = name in RANK and RANK[name] < RANK[home] and (home, name) not in NEVER
    return None if allowed else f"{home} may not import {name}"


def imports(path: Path, modules: set[str]) -> Iterator[tuple[tuple[str, ...], int]]:
    """Everything of the package that a file imports, anywhere in it: ("brokers", "sqlite"), line."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                package, *rest = alias.name.split(".")
                if package == "longboat":
                    yield tuple(rest) or ("__init__",), node.lineno
        elif isinstance(node, ast.ImportFrom) and node.level:
            yield (".",), node.lineno
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "longboat":
            _, *rest = node.module.split(".")
            for alias in node.names:
                if rest:
                    yield (*rest, alias.name), node.lineno
                else:
                    yield (alias.name if alias.name in modules else "__init__",), node.lineno


def home_of(parts: tuple[str, ...]) -> str:
    return parts[0].removesuffix(".py")


def member_of(parts: tuple[str, ...]) -> str:
    """The adapter that a file of a folder belongs to: its name up to the first underscore."""
    name = parts[1].removesuffix(".py") if len(parts) > 1 else "__init__"
    return name if name.startswith("__") else name.lstrip("_").split("_")[0]
