"""What each broker keeps and what it declares missing, as Markdown, from the code alone: no server need run.

`python -m tools.guarantees` prints it all; with files as arguments, it writes into each what belongs between
its markers, `<!-- guarantees: short -->` or `<!-- guarantees: whole -->` and `<!-- end of guarantees -->`.
"""

from __future__ import annotations

import ast
import inspect
import itertools
import re
import sys
from collections.abc import Collection, Iterator, Mapping
from importlib import import_module
from operator import attrgetter
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from longboat.testing.conformance import CLAUSES, SUBJECTS, Clause

HOME = "longboat.brokers"


class Source(NamedTuple):
    """Where a broker says what it does not keep."""

    package: str
    declared: str
    """The set of names of clauses, within the package."""
    reasons: tuple[str, ...] = ()
    """Modules of the package: the first that has a reason for a clause gives it."""


BROKERS = {
    "memory": Source("memory", "MemoryBroker.missing"),
    "SQLite": Source("sqlite", "SqliteBroker.missing"),
    "manager": Source("manager", "ManagerBroker.missing"),
    "Redis": Source("redis", "RedisBroker.missing"),
    "PostgreSQL": Source("postgres", "PostgresBroker.missing"),
    "RabbitMQ": Source("rabbitmq", "RabbitmqBroker.missing", ("missing",)),
    "RabbitMQ with a store": Source("rabbitmq", "missing_stored.MISSING_WITH_STORE", ("missing_stored", "missing")),
}

MARKED = re.compile(r"(<!-- guarantees: (short|whole) -->\n).*?(<!-- end of guarantees -->)", re.S)


def groups() -> dict[str, list[Clause]]:
    """The clauses by their titled subject, in the order of the suite."""
    names = [subject.__name__.rpartition(".")[2] for subject in SUBJECTS]
    return {title(name): [clause for clause in CLAUSES if clause.subject == name] for name in names}


def title(subject: str) -> str:
    return subject.replace("_", " ").capitalize()


def abouts() -> dict[str, str]:
    """What each group is about: the first sentence of its module, after the words they all begin with."""
    said = {title(subject.__name__.rpartition(".")[2]): inspect.getdoc(subject) or "" for subject in SUBJECTS}
    return {name: text.removeprefix("Clauses about ").partition(".")[0] for name, text in said.items()}


def missing() -> dict[str, frozenset[str]]:
    """Names of clauses, by the title of the broker that declares them missing."""
    return {broker: attrgetter(source.declared)(_package(source)) for broker, source in BROKERS.items()}


def reasons(source: Source) -> dict[str, list[str]]:
    """The clauses that are declared missing, by their reason: the text below the set that names them."""
    gone = set(attrgetter(source.declared)(_package(source)))
    found = {}
    for module in source.reasons:
        body = ast.parse(inspect.getsource(import_module(f"{HOME}.{source.package}.{module}"))).body
        for declared, below in itertools.pairwise(body):
            match declared, below:
                case ast.Assign(value=ast.Set() as names), ast.Expr(value=ast.Constant(value=str() as reason)):
                    named = gone & set(ast.literal_eval(names))
                    gone -= named
                    if named:
                        found[" ".join(reason.split())] = sorted(named)
    return found


def _package(source: Source) -> ModuleType:
    for module in source.reasons:
        import_module(f"{HOME}.{source.package}.{module}")
    return import_module(f"{HOME}.{source.package}")


def cell(clauses: Collection[Clause], gone: Collection[str]) -> str:
    kept = sum(clause.name not in gone for clause in clauses)
    if kept == len(clauses):
        return f"all {kept}"
    return f"{kept} of {len(clauses)}" if kept else "none"


def row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def ruler(columns: int) -> str:
    return f"|{'---|' * columns}"


def short() -> str:
    """One column for all brokers that keep the same."""
    alike: dict[frozenset[str], list[str]] = {}
    for broker, gone in missing().items():
        alike.setdefault(gone, []).append(broker)
    about = abouts()
    lines = [
        row("clauses about", "", *(", ".join(brokers) for brokers in alike.values())),
        ruler(2 + len(alike)),
        *(row(f"**{name}**", about[name], *(cell(clauses, gone) for gone in alike)) for name, clauses in groups().items()),
        row("**together**", "", *(cell(CLAUSES, gone) for gone in alike)),
    ]
    return "\n".join(lines) + "\n"


def whole() -> str:
    gone = missing()
    lines = [
        row("clauses about", *gone),
        ruler(1 + len(gone)),
        *(row(f"**{name}**", *(cell(clauses, each) for each in gone.values())) for name, clauses in groups().items()),
        row("**together**", *(cell(CLAUSES, each) for each in gone.values())),
        "",
        *(line for broker, each in gone.items() if each for line in absent(broker, each)),
        "## Every clause",
        "",
    ]
    about = abouts()
    for name, clauses in groups().items():
        lines += [f"### {name}: {about[name]}", "", *(told(clause) for clause in clauses), ""]
    return "\n".join(lines)


def absent(broker: str, gone: Collection[str]) -> Iterator[str]:
    """What one broker declares missing, reason by reason. A clause without a reason raises LookupError."""
    clauses = {clause.name: clause for clause in CLAUSES}
    why = reasons(BROKERS[broker])
    if unexplained := set(gone) - {name for names in why.values() for name in names}:
        raise LookupError(f"{broker} gives no reason for missing {', '.join(sorted(unexplained))}")
    yield from (f"## What {broker} does not keep", "")
    for reason, names in why.items():
        yield from (reason, "", *(told(clauses[name]) for name in names), "")


def told(clause: Clause) -> str:
    return f"- `{clause.name}`: {clause.promise}"


def written(text: str) -> str:
    """The page with what belongs between its markers. Raises LookupError if it has none."""
    made: Mapping[str, str] = {"short": short(), "whole": whole()}
    if not MARKED.search(text):
        raise LookupError("the page has no markers of guarantees")
    return MARKED.sub(lambda found: f"{found[1]}{made[found[2]]}{found[3]}", text)


def main(paths: list[str]) -> None:
    for path in map(Path, paths):
        path.write_text(written(path.read_text()))
    if not paths:
        print(whole())


if __name__ == "__main__":
    main(sys.argv[1:])
