"""Housekeeping in small transactions, so that nobody waits long for it: what is due is done, what was kept too long goes."""

from __future__ import annotations

import math

from longboat.brokers.sqlite import limits, prune
from longboat.brokers.sqlite.look import next_due
from longboat.brokers.sqlite.store import Store
from longboat.brokers.sqlite.sweep import sweep
from longboat.brokers.sqlite.wake import Ringer
from longboat.core.clock import SYSTEM

LIMITS_EVERY = 1.0
PRUNE_EVERY = 2.0
"""Seconds between one process's rounds."""
_CHUNK = 1000
"""Jobs pruned in one transaction, at most."""


class Tidier:
    """What this process has tidied and when, so that it looks into the store no more often than it has to."""

    def __init__(self, store: Store, ringer: Ringer) -> None:
        self._store = store
        self._ringer = ringer
        self._unblocked = self._pruned = -math.inf
        self._after = limits.BEFORE
        """What the next round of limits begins behind."""

    def tidy(self, budget: float) -> float:
        """See the contract of Tidy."""
        until = SYSTEM.monotonic() + budget
        now = self._store.clock.monotonic()
        if now - self._unblocked >= LIMITS_EVERY:
            self._unblock()
            self._unblocked = now
        while (due := self._next_due()) <= 0:
            if SYSTEM.monotonic() >= until:
                return 0.0
            with self._store.write(durable=False) as tx:
                swept = sweep(tx)
            self._ringer.tell(consumers=swept.returned > 0, listeners=swept.ended > 0)
        if now - self._pruned >= PRUNE_EVERY:
            while self._prune():
                if SYSTEM.monotonic() >= until:
                    return 0.0
            self._pruned = now
        return min(due, LIMITS_EVERY)

    def _next_due(self) -> float:
        """Seconds until a sweep has something to do."""
        with self._store.read() as db:
            return next_due(db) - self._store.clock.now()

    def _unblock(self) -> None:
        with self._store.read() as db:
            used = limits.are_used(db)
        if used:
            with self._store.write(durable=False) as tx:
                unblocked, self._after = limits.sweep_blocked(tx, self._after)
            self._ringer.tell(consumers=unblocked > 0)

    def _prune(self) -> bool:
        """Prune some; whether there may be more."""
        with self._store.read() as db:
            if not prune.is_due(db, self._store.clock.now()):
                return False
        with self._store.write() as tx:
            return prune.prune(tx, _CHUNK) > 0
