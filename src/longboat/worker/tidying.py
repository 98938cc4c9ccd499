"""Tidying: has the broker do its housekeeping, a little at a time."""

from __future__ import annotations

from longboat.contract.tidy import Tidy
from longboat.worker.maintenance import BUDGET


class Tidying:
    """A maintenance task, for brokers that keep house this way."""

    def __init__(self, broker: Tidy) -> None:
        self._broker = broker

    def run(self, now: float) -> float:
        return now + self._broker.tidy(BUDGET)
