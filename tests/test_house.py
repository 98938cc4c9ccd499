"""The house: a room imports only rooms that stand above it in the list below, which is also the reading order.

What is read of the imports, `tools/house.py` reads: function-local and TYPE_CHECKING ones too.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tools.house import SRC, House, Name, read, room, told

# Those of one set are strangers to each other.
LADDER: list[str | set[str]] = [
    "errors",
    "core",
    {"contract", "tasks"},
    {"brokers", "executors", "observe"},
    {"connect", "operate"},
    "client",
    "worker",
    "app",
    "pools",
    "testing",  # of programs that use Longboat
    "__init__",  # the surface, `from longboat import Longboat`: for the edges below only
    {"otel", "dashboard"},
    "cli",
    "contrib",  # integrations with other frameworks: nothing imports them before they are used
    "__main__",
]

RANK = {name: rank for rank, step in enumerate(LADDER) for name in ({step} if isinstance(step, str) else step)}

STRANGERS_WITHIN = {"brokers", "contrib"}
"""Rooms whose members are strangers to each other."""

NEVER = {(name, "testing") for name in RANK if name != "contrib"}
"""What may not be imported although it stands above: `testing` is for tests, and for integrations with test frameworks."""

NARROW: dict[Name, set[str]] = {("testing", "conformance"): {"errors", "core", "contract"}}
"""Parts of a room that may import less than the room: the suite for brokers needs the contract only."""


def test_rooms_import_only_what_stands_above_them() -> None:
    house = read(SRC)
    assert {"errors", "core", "contract", "tasks", "brokers", "worker", "cli", "__init__"} <= house.rooms, "all is read"
    assert not (found := list(violations(house))), "\n".join(found)


def test_every_room_says_what_lives_there() -> None:
    for folder in {path.parent for path in SRC.glob("*/*.py")}:
        first = (folder / "__init__.py").read_text()
        assert first.startswith('"""'), f"{folder.name}/__init__.py has no docstring"


def test_a_wrong_import_is_found_wherever_it_stands(tmp_path: Path) -> None:
    files = {
        "errors.py": "import longboat.core.job",
        "core/job.py": "def f():\n    from longboat.contract.broker import Broker",
        "core/codec.py": "if TYPE_CHECKING:\n    from longboat import client, errors",
        "contract/broker.py": "",
        "tasks/task.py": "from longboat import Longboat",
        "brokers/redis.py": "from longboat.brokers.sqlite.schema import X\nfrom longboat.brokers import sqlite",
        "brokers/sqlite/__init__.py": "",
        "brokers/sqlite/schema.py": "from longboat.executors import threads",
        "client/__init__.py": "",
        "cli/main.py": "import longboat\nfrom longboat.core import codec\nfrom longboat.testing import FakeClock",
        "executors/threads.py": "from . import asyncio",
        "new_thing.py": "",
        "testing/__init__.py": "from longboat.tasks import task",
        "testing/conformance/put.py": "from longboat.contract import broker\nfrom longboat.tasks import task",
        "worker/runner.py": "from longboat.worker.fetcher import Fetcher",
        "worker/fetcher.py": "from longboat.worker import runner",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text(text)
    assert list(violations(read(tmp_path))) == [
        "executors/threads:1: a relative import",
        "new_thing: no place on the ladder yet: add the room to LADDER in tests/test_house.py",
        "brokers/redis:1: brokers/redis may not import brokers/sqlite",
        "brokers/redis:2: brokers/redis may not import brokers/sqlite",
        "brokers/sqlite/schema:1: brokers may not import executors",
        "cli/main:3: cli may not import testing",
        "core/codec:2: core may not import client",
        "core/job:2: core may not import contract",
        "errors:1: errors may not import core",
        "tasks/task:1: tasks may not import __init__",
        "testing/conformance/put:2: testing/conformance may not import tasks",
        "circle: worker/fetcher, worker/runner",
    ]


def test_what_is_printed_counts(tmp_path: Path) -> None:
    for name, text in {
        "a.py": "from longboat.b import c",
        "b/c.py": "import longboat.d",
        "b/e.py": "",
        "d.py": "\n\n",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    first, _, _, *rows = told(read(tmp_path)).splitlines()
    assert first == "3 rooms, 2 arrows, 3 floors, 0 circles, 4 lines"
    assert [row.split() for row in rows] == [["0", "d", "1", "2"], ["1", "b", "2", "1", "d"], ["2", "a", "1", "1", "b"]]


def violations(house: House) -> Iterator[str]:
    """What breaks the rule, as `file:line: what`."""
    for name, line in house.relative:
        yield f"{'/'.join(name)}:{line}: a relative import"
    for place in sorted(house.rooms - RANK.keys()):
        yield f"{place}: no place on the ladder yet: add the room to LADDER in tests/test_house.py"
    for one, targets in sorted(house.imports.items()):
        for other, line in targets.items():
            if problem := judge(one, other):
                yield f"{'/'.join(one)}:{line}: {problem}"
    for part in house.circles():
        yield "circle: " + ", ".join("/".join(name) for name in part)


def judge(one: Name, other: Name) -> str | None:
    here, there = room(one), room(other)
    if here == there:
        strangers = here in STRANGERS_WITHIN and len(one) > 1 and len(other) > 1 and one[1] != other[1]
        return f"{here}/{one[1]} may not import {there}/{other[1]}" if strangers else None
    if here not in RANK:
        return None  # said above
    allowed = there in RANK and RANK[there] < RANK[here] and (here, there) not in NEVER
    if allowed and there in NARROW.get(one[:2], RANK.keys()):
        return None
    return f"{'/'.join(one[:2]) if one[:2] in NARROW else here} may not import {there}"
