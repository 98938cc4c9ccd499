"""Obeying: what people tell this worker to do is done."""

from __future__ import annotations

from collections.abc import Callable

from longboat.contract.kv import Board
from longboat.operate.orders import Order, take

ORDERED = "ordered"
"""The reason to finish of a worker that was told to stop: nobody is to start another in its place."""
WORDS = {Order.QUIET: "take no more jobs", Order.RESUME: "take jobs again", Order.STOP: "stop"}
LOOK = 1.0
"""Seconds after which an order is heeded, at most."""


class Obeying:
    """A chore of the steward's, before that which shows the worker: then it is shown as it has become."""

    def __init__(self, board: Board, name: str, obey: Callable[[Order], None]) -> None:
        self._board = board
        self._name = name
        self._obey = obey
        self._listening = False

    def tend(self, now: float) -> float:
        order = take(self._board, self._name)
        # What stood there before was meant for one of this name before us: the process ids of containers are alike.
        if order is not None and self._listening:
            self._obey(order)
        self._listening = True
        return now + LOOK
