"""The audit log: who changed what by the dashboard. Notes on the board, kept for 90 days, at most the newest MOST."""

from __future__ import annotations

import random

import msgspec

from longboat.contract.kv import Board, Note
from longboat.core.clock import SYSTEM
from longboat.core.job import new_id
from longboat.observe.history import decoded

SPACE = "audit"
KEPT = 90 * 86400.0
MOST = 50_000
TRIMMED = 500
"""About every so many changes the log is cut to MOST."""
LONGEST = 2000
"""Characters of one entry."""
BATCH = 1000
SPANS = (60.0, 1800.0, 54_000.0, 1_620_000.0, KEPT + 86400.0)
"""Seconds back from now: the log's end is looked for in ever longer stretches, since it is read from its beginning."""


class Entry(msgspec.Struct):
    """One change."""

    at: float
    who: str
    role: str
    verb: str
    what: str
    """What it was done to, and what came of it."""


def note(board: Board, who: str, role: str, verb: str, what: str) -> None:
    entry = Entry(SYSTEM.now(), who, role, verb, what[:LONGEST])
    board.write(SPACE, [Note(new_id(), msgspec.msgpack.encode(entry), KEPT)])
    if random.random() < 1 / TRIMMED:
        trim(board)


def trim(board: Board, most: int = MOST) -> None:
    """Delete the oldest, down to `most`."""
    keys: list[str] = []
    while notes := board.notes(SPACE, after=keys[-1] if keys else "", limit=BATCH):
        keys += [key for key, _ in notes]
    for begin in range(0, len(keys) - most, BATCH):
        board.write(SPACE, [Note(key, None) for key in keys[begin : min(begin + BATCH, len(keys) - most)]])


def newest(board: Board, limit: int = 200) -> list[Entry]:
    """The newest first."""
    found: list[bytes] = []
    for span in SPANS:
        found = []
        after = f"{max(0, int((SYSTEM.now() - span) * 1e6)) << 12:016x}"  # as new_id() begins
        while notes := board.notes(SPACE, after=after, limit=BATCH):
            found = [*found, *(value for _, value in notes)][-limit:]
            after = notes[-1][0]
        if len(found) == limit:
            break
    entries = (decoded(value, Entry) for value in reversed(found))
    return [entry for entry in entries if entry is not None]
