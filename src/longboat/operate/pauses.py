"""Pauses: queues and tasks whose jobs wait until somebody says otherwise. Notes on the board, heeded by every worker."""

from __future__ import annotations

from typing import Literal

from longboat.contract.kv import KV, Entry

NAMESPACE = "paused"

Kind = Literal["queue", "task"]


def pause(kv: KV, kind: Kind, name: str, paused: bool) -> bool:
    """Pause it, or let it go on; False if it was so already. Workers heed it within about a second."""
    key = f"{kind}:{name}"
    if paused:
        return kv.put_if_absent(NAMESPACE, [Entry(key, b"1")])[0]
    return kv.compare_and_set(NAMESPACE, Entry(key, None), old=b"1")


def paused(kv: KV) -> dict[Kind, set[str]]:
    """The names of what is paused."""
    found: dict[Kind, set[str]] = {"queue": set(), "task": set()}
    after = ""
    while entries := kv.entries(NAMESPACE, after=after):
        for key, _ in entries:
            kind, _, name = key.partition(":")
            found["task" if kind == "task" else "queue"].add(name)
        after = entries[-1][0]
    return found
