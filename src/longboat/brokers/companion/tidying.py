"""Housekeeping in the KV: what is due ends, and what is over goes. Jobs leave several entries each."""

from __future__ import annotations

from longboat.brokers.companion.endings import Endings
from longboat.contract.broker import Broker

PRUNED = 1000
"""Entries that are pruned at once."""

EVERY, TIDYING = 5.0, 0.5
"""Seconds between prunings of the store by heartbeats, and those that one may take."""


class Tidying:
    def __init__(self, endings: Endings, store: Broker) -> None:
        self._endings = endings
        self._store = store
        self._clock = endings.ledger.clock
        self._pruned = 0.0

    def tidy(self, budget: float) -> float:
        end = self._clock.monotonic() + budget
        more = self._endings.end_due()
        self._pruned = self._clock.monotonic()
        while (pruned := self._store.inspector.prune(limit=PRUNED)) >= PRUNED and self._clock.monotonic() < end:
            pass
        return 0.0 if more or pruned >= PRUNED else 1.0

    def beat(self) -> None:
        """At each heartbeat."""
        if self._clock.monotonic() - self._pruned > EVERY:
            self.tidy(TIDYING)
        else:
            self._endings.end_due()
