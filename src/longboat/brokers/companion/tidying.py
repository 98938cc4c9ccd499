"""Housekeeping: what is due ends, and the store forgets what is over. Jobs leave several entries each."""

from __future__ import annotations

from longboat.brokers.companion.endings import Endings
from longboat.contract.broker import Broker
from longboat.contract.optional import tidy_of

EVERY = 1.0
"""Seconds between looks at what is due."""


class Tidying:
    def __init__(self, endings: Endings, store: Broker) -> None:
        self._endings = endings
        self._store = tidy_of(store)
        self._clock = endings.ledger.clock
        self._store_due = 0.0

    def tidy(self, budget: float) -> float:
        more = self._endings.end_due()
        if self._store is not None and self._clock.monotonic() >= self._store_due:
            self._store_due = self._clock.monotonic() + self._store.tidy(budget)
        left = self._store_due - self._clock.monotonic() if self._store is not None else EVERY
        return 0.0 if more else min(EVERY, max(0.0, left))
