"""Housekeeping: what is due ends, and the store forgets what is over. Jobs leave several entries each."""

from __future__ import annotations

import time

from longboat.brokers.companion.endings import Endings
from longboat.contract.broker import Broker
from longboat.contract.optional import tidy_of

PRUNED = 1000
"""Entries that are pruned at once."""

EVERY = 1.0
"""Seconds between looks at what is due."""


class Tidying:
    def __init__(self, endings: Endings, store: Broker) -> None:
        self._endings = endings
        self._store = store
        self._clock = endings.ledger.clock
        self._store_due = 0.0

    def tidy(self, budget: float) -> float:
        more = self._endings.end_due()
        if self._clock.monotonic() >= self._store_due:
            self._store_due = self._tidy_store(budget) + self._clock.monotonic()
        return 0.0 if more else min(EVERY, max(0.0, self._store_due - self._clock.monotonic()))

    def _tidy_store(self, budget: float) -> float:
        if (tidy := tidy_of(self._store)) is not None:
            return tidy.tidy(budget)
        end = time.monotonic() + budget
        while self._store.inspector.prune(limit=PRUNED) >= PRUNED:
            if time.monotonic() > end:
                return 0.0
        return EVERY
