"""The rooms of src/longboat: what lives in each, what imports what, and whether the imports follow the ladder.

    python tools/house.py            # rooms, floors, arrows, circles, and lines by room
    python tools/house.py SRC        # of another checkout: the folder that holds longboat's files
    python tools/house.py --json

A room is a folder or a file directly under the package. A floor is the longest way down to a room that imports none.
Every import counts, wherever it stands: within functions and under TYPE_CHECKING too.
"""

from __future__ import annotations

import ast
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Collection, Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

SRC = Path(__file__).parent.parent / "src" / "longboat"

CODE = {".py", ".lua", ".sql", ".html", ".js", ".css"}
"""Kinds of files whose lines are counted: all that is written here and shipped in the wheel."""

T = TypeVar("T", bound=Hashable)

Name = tuple[str, ...]
"""A module by its parts below the package: ("brokers", "redis", "consumer"); the package itself is ("__init__",)."""


@dataclass
class House:
    """What was read of a package."""

    imports: dict[Name, dict[Name, int]] = field(default_factory=dict)
    """By module: the modules it imports, each with the first line where it does."""
    relative: list[tuple[Name, int]] = field(default_factory=list)
    """Relative imports, which nobody may write."""
    lines: Counter[str] = field(default_factory=Counter)
    """By room."""

    @property
    def rooms(self) -> set[str]:
        return {room(name) for name in self.imports}

    def arrows(self) -> dict[tuple[str, str], int]:
        """(importing room, imported room) -> how many modules do."""
        return Counter(
            (room(one), room(other)) for one in self.imports for other in self.imports[one] if room(one) != room(other)
        )

    def circles(self) -> list[list[Name]]:
        """Modules that import each other, directly or by way of others."""
        return [part for part in components(self.imports) if len(part) > 1]

    def floors(self) -> dict[str, int]:
        """How high each room stands; rooms in a circle stand on one floor."""
        below: dict[str, set[str]] = defaultdict(set)
        for one, other in self.arrows():
            below[one].add(other)
        floors: dict[str, int] = {}
        for part in components({name: below[name] for name in self.rooms}):  # those below come first
            floor = max((floors[other] for one in part for other in below[one] if other in floors), default=-1) + 1
            floors.update(dict.fromkeys(part, floor))
        return floors


def read(src: Path) -> House:
    house = House()
    modules = {name_of(path.relative_to(src)) for path in src.rglob("*.py")}
    for path in sorted(src.rglob("*")):
        if path.suffix in CODE:
            house.lines[room(path.relative_to(src).with_suffix("").parts)] += len(path.read_text().splitlines())
    for path in sorted(src.rglob("*.py")):
        name = name_of(path.relative_to(src))
        found = house.imports.setdefault(name, {})
        for target, line in imports(path):
            if not target:
                house.relative.append((name, line))
            elif (module := module_of(target, modules)) != name:
                found.setdefault(module, line)
    return house


def imports(path: Path) -> Iterator[tuple[Name, int]]:
    """Everything of the package that a file imports, as it is named there; () is a relative import."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                package, *rest = alias.name.split(".")
                if package == "longboat":
                    yield tuple(rest) or ("__init__",), node.lineno
        elif isinstance(node, ast.ImportFrom) and node.level:
            yield (), node.lineno
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "longboat":
            for alias in node.names:
                yield (*node.module.split(".")[1:], alias.name), node.lineno


def name_of(path: Path) -> Name:
    parts = path.with_suffix("").parts
    return parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts


def module_of(target: Name, modules: set[Name]) -> Name:
    """The module in which a name is found: itself if it is one, else the one that it is taken from."""
    if target in modules or target[:-1] in modules:
        return target if target in modules else target[:-1]
    return ("__init__",) if len(target) == 1 else target


def room(name: Name) -> str:
    return name[0]


def components(below: Mapping[T, Collection[T]]) -> list[list[T]]:
    """Strongly connected parts of a graph, those that are pointed at first (Tarjan's way)."""
    order: dict[T, int] = {}
    low: dict[T, int] = {}
    stack: list[T] = []
    parts: list[list[T]] = []

    def visit(one: T) -> None:
        order[one] = low[one] = len(order)
        stack.append(one)
        for other in below.get(one, ()):
            if other not in order:
                visit(other)
                low[one] = min(low[one], low[other])
            elif other in stack:
                low[one] = min(low[one], order[other])
        if low[one] == order[one]:
            at = stack.index(one)
            parts.append(sorted(stack[at:], key=str))
            del stack[at:]

    for one in sorted(below, key=str):
        if one not in order:
            visit(one)
    return parts


def told(house: House) -> str:
    floors, arrows, circles = house.floors(), house.arrows(), house.circles()
    count = Counter(room(name) for name in house.imports)
    lines = [
        f"{len(house.rooms)} rooms, {len(arrows)} arrows, {max(floors.values(), default=-1) + 1} floors, "
        f"{len(circles)} circles, {sum(house.lines.values()):,} lines",
        "",
        f"{'floor':>5}  {'room':<12} {'files':>5} {'lines':>7}  imports",
    ]
    for name in sorted(house.rooms, key=lambda name: (floors[name], name)):
        targets = sorted(other for one, other in arrows if one == name)
        lines.append(f"{floors[name]:>5}  {name:<12} {count[name]:>5} {house.lines[name]:>7,}  {' '.join(targets)}")
    for part in circles:
        lines += ["", "circle: " + ", ".join("/".join(name) for name in part)]
    return "\n".join(lines)


def main(arguments: list[str]) -> None:
    folders = [each for each in arguments if not each.startswith("-")]
    house = read(Path(folders[0]) if folders else SRC)
    if "--json" not in arguments:
        print(told(house))
        return
    floors = house.floors()
    rooms = {name: {"floor": floors[name], "lines": house.lines[name]} for name in sorted(house.rooms)}
    arrows = [{"from": one, "to": other, "modules": n} for (one, other), n in sorted(house.arrows().items())]
    circles = [["/".join(name) for name in part] for part in house.circles()]
    print(json.dumps({"rooms": rooms, "arrows": arrows, "circles": circles}, indent=2))


if __name__ == "__main__":
    main(sys.argv[1:])
