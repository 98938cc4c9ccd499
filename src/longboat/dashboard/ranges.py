"""Ranges of time: what a page's tiles, tables and charts cover."""

from __future__ import annotations

from typing import Any

import msgspec

from longboat.dashboard.ask import Ask
from longboat.observe.history import GRAINS, Grain


class Range(msgspec.Struct, frozen=True):
    """A range of time up to now."""

    name: str
    text: str
    grain: Grain
    length: float
    keep: float
    """Seconds for which a lookup is reused."""


RANGES = {
    each.name: each
    for each in (
        Range("15m", "15 minutes", GRAINS[0], 900, 1.0),
        Range("2h", "2 hours", GRAINS[0], 7200, 5.0),
        Range("24h", "24 hours", GRAINS[1], 86400, 30.0),
        Range("7d", "7 days", GRAINS[2], 7 * 86400, 300.0),
        Range("90d", "90 days", GRAINS[2], 90 * 86400, 300.0),
    )
}
FIRST = RANGES["15m"]


def chosen(ask: Ask) -> Range:
    """The range that the query names; else the first."""
    return RANGES.get(ask.query.get("range", ""), FIRST)


def ranges(ask: Ask) -> dict[str, Any]:
    """For a page: the ranges, and the one chosen."""
    return {"ranges": RANGES.values(), "chosen": chosen(ask)}
