"""Pauses: queues and tasks whose jobs wait until they are resumed. Kept beside the jobs, respected by every worker."""

from __future__ import annotations

from typing import Literal

from longboat.contract.kv import KV, Entry
from longboat.observe.history import pages

NAMESPACE = "paused"

Kind = Literal["queue", "task"]


def pause(kv: KV, kind: Kind, name: str, paused: bool) -> bool:
    """Pause or resume it; False if it was so already. Workers notice within about a second."""
    key = f"{kind}:{name}"
    if paused:
        return kv.put_if_absent(NAMESPACE, [Entry(key, b"1")])[0]
    return kv.compare_and_set(NAMESPACE, Entry(key, None), old=b"1")


def paused(kv: KV) -> dict[Kind, set[str]]:
    """The names of everything paused."""
    found: dict[Kind, set[str]] = {"queue": set(), "task": set()}
    for entries in pages(kv, NAMESPACE):
        for key, _ in entries:
            kind, _, name = key.partition(":")
            found["task" if kind == "task" else "queue"].add(name)
    return found
