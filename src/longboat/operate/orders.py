"""Orders: what a worker is told to do by people who look at it. Notes on the board, heeded by the worker they name."""

from __future__ import annotations

import enum

from longboat.contract.kv import Board, Note
from longboat.observe.history import WORKERS

SPACE = "orders"
KEPT = 60.0
"""Seconds that an order waits for its worker: one that cannot reach the broker for so long never hears of it."""


class Order(enum.StrEnum):
    QUIET = "quiet"
    """Take no more jobs; what runs goes on."""
    RESUME = "resume"
    """Take jobs again."""
    STOP = "stop"
    """Take no more jobs, finish what runs within the grace, hand back the rest, leave."""


def give(board: Board, worker: str, order: Order) -> bool:
    """Tell the worker of this name, which heeds it within about a second; False if no such worker shows itself.

    An order that was not heeded yet is replaced.
    """
    if board.read(WORKERS, [worker])[0] is None:
        return False
    board.write(SPACE, [Note(worker, order.value.encode(), KEPT)])
    return True


def take(board: Board, worker: str) -> Order | None:
    """What the worker of this name was told since it asked last: each order is taken once."""
    value = board.read(SPACE, [worker])[0]
    if value is None or not board.swap(SPACE, Note(worker, None), old=value):
        return None  # none, or replaced at this moment: the next look finds it
    try:
        return Order(value.decode())
    except ValueError:
        return None  # of another version
