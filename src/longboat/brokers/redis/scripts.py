"""The server's commands: Lua files, each preceded by the parts that its header says it needs, and what these need."""

from __future__ import annotations

import functools
import hashlib
import re
from pathlib import Path

from msgspec import json

from longboat.brokers.redis.layout import LAYOUT
from longboat.contract.base import RESERVED
from longboat.contract.broker import DEAD_KEPT, ENDED_KEPT, FORGOTTEN_AFTER
from longboat.core import reasons
from longboat.core.job import DEFAULT_KEEP, FAILURES_KEPT
from longboat.core.portions import BYTES

PACK = 256
"""Keys in one pack of ready jobs, at most: what a claim of a single job has to copy."""

BIG = 400
"""Bytes of a message above which it passes through no claim: Lua hashes each of them, which takes longer than all else."""

_FOLDER = Path(__file__).parent / "lua"

_CONSTANTS = {
    "BIG": BIG,
    "CANCELLED": reasons.CANCELLED,
    "CANCELLED_TEXT": reasons.CANCELLED_TEXT,
    "DEAD_KEPT": DEAD_KEPT,
    "DEFAULT_KEEP": DEFAULT_KEEP,
    "ENDED_KEPT": ENDED_KEPT,
    "EXPIRED": reasons.EXPIRED,
    "EXPIRED_TEXT": reasons.EXPIRED_TEXT,
    "FAILURES_KEPT": FAILURES_KEPT,
    "FORGOTTEN_AFTER": int(FORGOTTEN_AFTER),
    "LAYOUT": LAYOUT,
    "PACK": PACK,
    "PORTION": BYTES,
    "RESERVED": RESERVED,
    "UNDECODABLE": reasons.UNDECODABLE,
    "UNREADABLE_TEXT": "what the server keeps of it cannot be read",
    "WORKER_DIED": reasons.WORKER_DIED,
    "WORKER_DIED_TEXT": reasons.worker_died("%s", 0.0).message,
}
_LIST = r"^-- (?:.*\. )?{}: ([a-z, _]+)$"
_NEEDS = re.compile(_LIST.format("Needs"), re.MULTILINE)
_ON_DEMAND = re.compile(_LIST.format("On demand"), re.MULTILINE)
"""Parts whose functions are made when they are first called for: making them costs the server more than most of what a
script does with one job."""


class Script:
    """A command as the server gets it."""

    def __init__(self, name: str) -> None:
        self.name = name
        text = "\n".join(_with_parts(name, {"base": _read("base")}).values())
        constants = [f"local {key} = {json.encode(value).decode()}" for key, value in _CONSTANTS.items() if key in text]
        self.source = "\n".join([*constants, text]).encode()
        self.sha = hashlib.sha1(self.source).hexdigest()


def _with_parts(name: str, parts: dict[str, str]) -> dict[str, str]:
    """Adds this file to the parts, behind those that it needs and that are not there yet."""
    text = _read(name)
    if needed := _NEEDS.search(text):
        for part in needed[1].split(", "):
            if part not in parts:
                _with_parts(part, parts)
    if made := _ON_DEMAND.search(text):
        text = _on_demand(name, "\n".join(map(_read, made[1].split(", "))))
    parts[name] = text
    return parts


def _on_demand(name: str, text: str) -> str:
    """A function of this name that returns a table of all functions in the text."""
    table = ", ".join(f"{each} = {each}" for each in re.findall(r"^local function (\w+)", text, re.MULTILINE))
    made = f"made_{name}"
    return (
        f"local {made} = nil\nlocal function {name}()\nif {made} then return {made} end\n{text}\n"
        f"{made} = {{{table}}}\nreturn {made}\nend"
    )


def _read(name: str) -> str:
    return (_FOLDER / f"{name}.lua").read_text()


@functools.cache
def script(name: str) -> Script:
    return Script(name)
