"""The audit log: who changed what by the dashboard. Notes on the board, kept for 90 days."""

from __future__ import annotations

import msgspec

from longboat.board import Board, Note
from longboat.clock import SYSTEM
from longboat.job import new_id

SPACE = "audit"
KEPT = 90 * 86400.0


class Entry(msgspec.Struct):
    """One change."""

    at: float
    who: str
    role: str
    verb: str
    what: str
    """What it was done to, and what came of it."""


def note(board: Board, who: str, role: str, verb: str, what: str) -> None:
    entry = Entry(SYSTEM.now(), who, role, verb, what[:2000])
    board.write(SPACE, [Note(new_id(), msgspec.msgpack.encode(entry), KEPT)])


def newest(board: Board, limit: int = 200) -> list[Entry]:
    """The newest first."""
    found: list[bytes] = []
    after = ""
    while notes := board.notes(SPACE, after=after):
        found = [*found, *(value for _, value in notes)][-limit:]
        after = notes[-1][0]
    return [msgspec.msgpack.decode(value, type=Entry) for value in reversed(found)]
