"""What each broker keeps and what it declares missing, as Markdown, from the code alone: no server need run.

`python -m tools.guarantees` prints it all; with files as arguments, it writes into each what belongs between
its markers, `<!-- guarantees: short -->` or `<!-- guarantees: whole -->` and `<!-- end of guarantees -->`.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Collection, Iterator, Mapping
from importlib import import_module
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

from longboat.contract.capabilities import EXTRAS, Capability
from longboat.testing.conformance import CLAUSES, SUBJECTS, Clause
from longboat.testing.conformance.clause import missing as not_held

HOME = "longboat.brokers"


CONTRACT = [clause for clause in CLAUSES if not clause.needs & EXTRAS]
"""The clauses that make a broker whole. The others hold those that offer more."""


class Source(NamedTuple):
    """Where a broker says what it can do."""

    package: str
    capabilities: str
    """Within the package."""
    reasons: str = ""
    """Why it lacks the others, by capability: also within the package."""
    carrier: str = ""
    """The package of the carrier that it works over, which lacks some as well."""


BROKERS = {
    "memory": Source("memory", "MemoryBroker.capabilities"),
    "SQLite": Source("sqlite", "SqliteBroker.capabilities"),
    "manager": Source("manager", "broker.WHOLE_CONTRACT"),
    "Redis": Source("redis", "RedisBroker.capabilities"),
    "PostgreSQL": Source("postgres", "PostgresBroker.capabilities"),
    "RabbitMQ": Source("rabbitmq", "capabilities.CAPABILITIES", "capabilities.LACKING"),
    "RabbitMQ with a store": Source("companion", "capabilities.CAPABILITIES", "capabilities.LACKING", "rabbitmq"),
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
    """Names of the clauses that a broker is not held to, by its title."""
    return {
        broker: frozenset(clause.name for clause in not_held(_capabilities(source)) if clause in CONTRACT)
        for broker, source in BROKERS.items()
    }


def reasons(source: Source) -> dict[str, list[str]]:
    """The clauses that a broker is not held to, by the reason: that of the first thing it lacks and the clause needs."""
    found: dict[str, list[str]] = {}
    why: Mapping[Capability, str] = _found(source.package, source.reasons) if source.reasons else {}
    if source.carrier:
        why = {**_found(source.carrier, "capabilities.LACKING_AS_CARRIER"), **why}
    for clause in sorted(not_held(_capabilities(source)), key=lambda clause: clause.name):
        if clause not in CONTRACT:
            continue
        if reason := next((text for lacking, text in why.items() if lacking in clause.needs), ""):
            found.setdefault(reason, []).append(clause.name)
    return {reason: found[reason] for reason in dict.fromkeys(why.values()) if reason in found}


def _lost(source: Source) -> set[str]:
    """All clauses that a broker is not held to, those beyond the contract too."""
    return {clause.name for clause in not_held(_capabilities(source))}


def _capabilities(source: Source) -> frozenset[Capability]:
    found: frozenset[Capability] = _found(source.package, source.capabilities)
    return found & _found(source.carrier, "capabilities.AS_CARRIER") if source.carrier else found


def _found(package: str, name: str) -> Any:
    made = import_module(f"{HOME}.{package}")
    for submodule in ("broker", "capabilities"):
        if name.startswith(f"{submodule}."):
            import_module(f"{HOME}.{package}.{submodule}")
    return attrgetter(name)(made)


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
        *(
            row(f"**{name}**", about[name], *(cell(clauses, gone) for gone in alike))
            for name, clauses in groups().items()
            if set(clauses) & set(CONTRACT)
        ),
        row("**together**", "", *(cell(CONTRACT, gone) for gone in alike)),
    ]
    return "\n".join(lines) + "\n"


def whole() -> str:
    gone = missing()
    lines = [
        row("clauses about", *gone),
        ruler(1 + len(gone)),
        *(
            row(f"**{name}**", *(cell(clauses, each) for each in gone.values()))
            for name, clauses in groups().items()
            if set(clauses) & set(CONTRACT)
        ),
        row("**together**", *(cell(CONTRACT, each) for each in gone.values())),
        *(
            row(f"**{name}**, beyond the contract", *(cell(clauses, _lost(source)) for source in BROKERS.values()))
            for name, clauses in groups().items()
            if not set(clauses) & set(CONTRACT)
        ),
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
