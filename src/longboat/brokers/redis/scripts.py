"""The server's commands: Lua files, each put behind the parts that its header says it needs."""

from __future__ import annotations

import functools
import hashlib
import re
from importlib.resources import files

from longboat.broker import CANCELLED, DEAD_KEPT, ENDED_KEPT, EXPIRED, FORGOTTEN_AFTER, LOST
from longboat.job import DEFAULT_KEEP, FAILURES_KEPT

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
    "LOST": LOST,
    "PACK": PACK,
}
_NEEDS = re.compile(r"Needs: ([a-z, ]+)")


class Script:
    """A command as the server gets it."""

    def __init__(self, name: str) -> None:
        self.name = name
        folder = files("longboat.brokers.redis") / "lua"
        command = (folder / f"{name}.lua").read_text()
        needed = _NEEDS.search(command.splitlines()[0])
        parts = ["base", *(needed[1].split(", ") if needed else ())]
        text = "\n".join([*((folder / f"{part}.lua").read_text() for part in parts), command])
        constants = [
            f"local {key} = {_literal(value)}" for key, value in _CONSTANTS.items() if re.search(rf"\b{key}\b", text)
        ]
        self.source = "\n".join([*constants, text]).encode()
        self.sha = hashlib.sha1(self.source).hexdigest()


@functools.cache
def script(name: str) -> Script:
    return Script(name)


def _literal(value: object) -> str:
    return f"'{value}'" if isinstance(value, str) else str(value)
