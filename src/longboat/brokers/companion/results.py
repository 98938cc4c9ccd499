"""Results: read from the ends of jobs in the KV, and announced by the carrier."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Collection, Sequence

from longboat.brokers.companion.entries import End, key
from longboat.brokers.companion.ledger import Ledger
from longboat.contract.base import BaseListener
from longboat.contract.carrier import Carrier, Ear
from longboat.contract.results import Listener
from longboat.core.codec import decoded
from longboat.core.job import Result
from longboat.errors import BrokerError

LOOK = 1.0
"""Seconds between looks at all that is watched: what was announced while nobody heard is found then."""

DEAF = 0.2
"""Seconds between these while the carrier is away."""


class CompanionResults:
    def __init__(self, ledger: Ledger, carrier: Carrier) -> None:
        self._ledger = ledger
        self._carrier = carrier

    def get(self, ids: Sequence[str]) -> list[Result | None]:
        now, ledger = self._ledger.now(), self._ledger
        ends = ledger.read_as(End, [key("e", each) for each in ids])
        return [ledger.outcome(end) if end and now < end.ended + end.keep else None for end in ends]

    def listen(self) -> Listener:
        return CompanionListener(self._ledger, self._carrier)


class CompanionListener(BaseListener):
    """Hears the ids of all jobs that end, and reads the ends of those that it watches.

    Without the carrier it goes on by looking at the store.
    """

    def __init__(self, ledger: Ledger, carrier: Carrier) -> None:
        super().__init__()
        self._ledger = ledger
        self._carrier = carrier
        self._changed = threading.Condition(self._lock)
        self._heard: set[str] = set()
        """Those of the watched that are to be looked at."""
        self._looked = time.monotonic()
        self._rung = False
        self._ear: Ear | None = None
        self._hear_again()

    def _hear_again(self) -> None:
        """Listen; what ended until then is looked at."""
        if self._ear is not None:
            if not self._ear.lost:
                return
            self._ear.close()
        self._ear = None
        self._ear = self._carrier.listen(self._told, self._ring)
        with self._lock:
            self._heard |= self._watched

    def _told(self, body: bytes) -> None:
        names = decoded(body, list[str]) or ()
        with self._lock:
            if heard := self._watched.intersection(names):
                self._heard |= heard
                self._changed.notify_all()

    def _hear(self, until: float) -> list[Result]:
        try:
            if not self._closed:
                self._hear_again()
        except BrokerError:
            if time.monotonic() >= until:
                raise
        return super()._hear(until)

    def _look(self, fresh: Collection[str]) -> list[Result]:
        with self._lock:
            if time.monotonic() >= self._looked + self._pause():
                self._looked = time.monotonic()
                self._heard |= self._watched
            names, self._heard = [*(self._heard | set(fresh))], set()
        try:
            ends = self._ledger.read_as(End, [key("e", each) for each in names])
            return [self._ledger.outcome(end) for end in ends if end]
        except BaseException:
            with self._lock:
                self._heard |= self._watched.intersection(names)
            raise

    def _pause(self) -> float:
        return DEAF if self._ear is None or self._ear.lost else LOOK

    def _wait(self, until: float) -> None:
        with self._lock:
            pause = min(until, self._looked + self._pause()) - time.monotonic()
            self._changed.wait_for(lambda: self._rung or self._heard or self._fresh, max(0.0, pause))
            self._rung = False
        with contextlib.suppress(BrokerError):
            if not self._closed:
                self._hear_again()

    def _ring(self) -> None:
        with self._lock:
            self._rung = True
            self._changed.notify_all()

    def _end(self) -> None:
        if self._ear is not None:
            self._ear.close()
