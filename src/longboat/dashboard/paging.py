"""Paging: a screen's names, some at a time, and a search among them. There may be a hundred thousand."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

import msgspec

from longboat.dashboard.ask import Ask, Refused

EACH = 100
"""Names on a page."""


class Part(msgspec.Struct):
    """One page of names."""

    names: Sequence[str]
    found: int
    """How many names match."""
    q: str
    """The search: part of a name, or a pattern with * and ?."""
    number: int
    """Of this page, from 1."""

    @property
    def more(self) -> int | None:
        """The number of the next page."""
        return self.number + 1 if self.number * EACH < self.found else None


def part(ask: Ask, names: Sequence[str], each: int = EACH) -> Part:
    """The page that is asked for. Raises Refused for a page that is no number."""
    q = ask.query.get("q", "").strip()
    try:
        number = max(1, int(ask.query.get("page", "1")))
    except ValueError:
        raise Refused(400, "page: not a whole number.") from None
    if q:
        pattern = q if set(q) & set("*?") else f"*{q.replace('[', '[[]')}*"
        names = [name for name in names if fnmatchcase(name, pattern)]
    return Part(names[(number - 1) * each : number * each], len(names), q, number)
