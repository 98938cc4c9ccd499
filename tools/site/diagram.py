"""A state diagram in mermaid's words, as a table: the site draws nothing with scripts from elsewhere."""

from __future__ import annotations

import re

BLOCK = re.compile(r"^```mermaid\nstateDiagram-v2\n(.*?)^```$", re.M | re.S)
STEP = re.compile(r"^ *(\S+) --> (\S+): (.*)$", re.M)


def tables(markdown: str) -> str:
    return BLOCK.sub(_table, markdown)


def _table(found: re.Match[str]) -> str:
    rows = [f"| {_state(start, 'new')} | {why} | {_state(end, 'gone')} |" for start, end, why in STEP.findall(found[1])]
    return "\n".join(["| from | by | to |", "|---|---|---|", *rows])


def _state(name: str, edge: str) -> str:
    return f"*{edge}*" if name == "[*]" else name
