"""Pauses: queues and tasks whose jobs wait until somebody says otherwise. Notes on the board, heeded by every worker."""

from __future__ import annotations

from typing import Literal

from longboat.contract.kv import Board, Note

SPACE = "paused"

Kind = Literal["queue", "task"]


def pause(board: Board, kind: Kind, name: str, paused: bool) -> bool:
    """Pause it, or let it go on; False if it was so already. Workers heed it within about a second."""
    key = f"{kind}:{name}"
    if paused:
        return board.add(SPACE, [Note(key, b"1")])[0]
    return board.swap(SPACE, Note(key, None), old=b"1")


def paused(board: Board) -> dict[Kind, set[str]]:
    """The names of what is paused."""
    found: dict[Kind, set[str]] = {"queue": set(), "task": set()}
    after = ""
    while notes := board.notes(SPACE, after=after):
        for key, _ in notes:
            kind, _, name = key.partition(":")
            found["task" if kind == "task" else "queue"].add(name)
        after = notes[-1][0]
    return found
