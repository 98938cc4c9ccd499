"""Tidying: has the broker do its housekeeping, a little at a time."""

from __future__ import annotations

from longboat.contract.broker import Broker
from longboat.contract.capabilities import Capability, unsupported
from longboat.contract.optional import tidy_of
from longboat.worker.maintenance import BUDGET


class Tidying:
    """A maintenance task, for brokers that keep house this way. With others it raises Unsupported, and is dropped."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    def run(self, now: float) -> float:
        broker = tidy_of(self._broker)
        if broker is None:
            raise unsupported(Capability.TIDY, type(self._broker).__name__)
        return now + broker.tidy(BUDGET)
