"""The server's commands: Lua files, each put behind the parts that its header says it needs, and what these need."""

from __future__ import annotations

import functools
import hashlib
import re
from importlib.resources import files

from longboat.contract.broker import DEAD_KEPT, ENDED_KEPT, FORGOTTEN_AFTER
from longboat.core.job import DEFAULT_KEEP, FAILURES_KEPT
from longboat.core.reasons import CANCELLED, EXPIRED, WORKER_DIED

PACK = 256
"""Keys in one pack of ready jobs, at most: what a claim of a single job has to copy."""

_CONSTANTS = {
    "CANCELLED": CANCELLED,
    "DEAD_KEPT": DEAD_KEPT,
    "DEFAULT_KEEP": DEFAULT_KEEP,
    "ENDED_KEPT": ENDED_KEPT,
    "EXPIRED": EXPIRED,
    "FAILURES_KEPT": FAILURES_KEPT,
    "FORGOTTEN_AFTER": int(FORGOTTEN_AFTER),
    "LOST": WORKER_DIED,
    "PACK": PACK,
}
_NEEDS = re.compile(r"Needs: ([a-z, ]+)")
_HERE = re.compile(r"^ *-- Here: ([a-z, ]+)$", re.MULTILINE)
"""Files that belong into a function: closures cost the server more than most of what a script does with one job."""


class Script:
    """A command as the server gets it."""

    def __init__(self, name: str) -> None:
        self.name = name
        text = "\n".join(_with_parts(name, {"base": _read("base")}).values())
        constants = [
            f"local {key} = {_literal(value)}" for key, value in _CONSTANTS.items() if re.search(rf"\b{key}\b", text)
        ]
        self.source = "\n".join([*constants, text]).encode()
        self.sha = hashlib.sha1(self.source).hexdigest()


def _with_parts(name: str, parts: dict[str, str]) -> dict[str, str]:
    """Adds this file to the parts, behind those that it needs and that are not there yet."""
    text = _HERE.sub(lambda found: "\n".join(map(_read, found[1].split(", "))), _read(name))
    needed = _NEEDS.search(text.partition("\n\n")[0])
    for part in needed[1].split(", ") if needed else ():
        if part not in parts:
            _with_parts(part, parts)
    parts[name] = text
    return parts


def _read(name: str) -> str:
    return (files("longboat.brokers.redis") / "lua" / f"{name}.lua").read_text()


@functools.cache
def script(name: str) -> Script:
    return Script(name)


def _literal(value: object) -> str:
    return f"'{value}'" if isinstance(value, str) else str(value)
