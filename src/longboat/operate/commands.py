"""Orders: what a worker is told to do by people who look at it. Notes on the board, heeded by the worker they name."""

from __future__ import annotations

import enum

from longboat.contract.kv import KV, Entry
from longboat.observe.history import WORKERS

NAMESPACE = "orders"
KEPT = 60.0
"""Seconds that an order waits for its worker: one that cannot reach the broker for so long never hears of it."""


class Command(enum.StrEnum):
    QUIET = "quiet"
    """Take no more jobs; what runs goes on."""
    RESUME = "resume"
    """Take jobs again."""
    STOP = "stop"
    """Take no more jobs, finish what runs within the grace, hand back the rest, leave."""


def give(kv: KV, worker: str, command: Command) -> bool:
    """Tell the worker of this name, which heeds it within about a second; False if no such worker shows itself.

    An order that was not heeded yet is replaced.
    """
    if kv.read(WORKERS, [worker])[0] is None:
        return False
    kv.write(NAMESPACE, [Entry(worker, command.value.encode(), KEPT)])
    return True


def take(kv: KV, worker: str) -> Command | None:
    """What the worker of this name was told since it asked last: each order is taken once."""
    value = kv.read(NAMESPACE, [worker])[0]
    if value is None or not kv.compare_and_set(NAMESPACE, Entry(worker, None), old=value):
        return None  # none, or replaced at this moment: the next look finds it
    try:
        return Command(value.decode())
    except ValueError:
        return None  # of another version
