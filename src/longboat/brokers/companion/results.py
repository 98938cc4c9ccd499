"""Results: read from the ends of jobs in the KV, and announced by the carrier."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import msgspec

from longboat.brokers.companion.entries import End, key
from longboat.brokers.companion.ledger import Ledger
from longboat.contract.carrier import Carrier, Ear
from longboat.contract.results import Listener
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


class CompanionListener:
    """Hears the ids of all jobs that end, and reads the ends of those that it watches."""

    def __init__(self, ledger: Ledger, carrier: Carrier) -> None:
        self._ledger = ledger
        self._carrier = carrier
        self._changed = threading.Condition()
        self._watched: set[str] = set()
        self._heard: set[str] = set()
        """Those of the watched that are to be looked at."""
        self._looked = time.monotonic()
        self._woken = self._closed = self._was_deaf = False
        self._ear: Ear | None = None
        self._hear_again()

    def _hear_again(self) -> None:
        """Listen; what ended until then is looked at."""
        if self._ear is not None:
            if not self._ear.lost:
                return
            self._ear.close()
        self._ear = None
        self._ear = self._carrier.listen(self._hear, self._stir)
        with self._changed:
            self._heard |= self._watched

    def _hear(self, body: bytes) -> None:
        names = msgspec.msgpack.decode(body, type=list[str])
        with self._changed:
            if heard := self._watched.intersection(names):
                self._heard |= heard
                self._changed.notify_all()

    def _stir(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def watch(self, ids: Sequence[str]) -> None:
        with self._changed:
            self._watched.update(ids)
            self._heard.update(ids)
            self._changed.notify_all()

    def forget(self, ids: Sequence[str]) -> None:
        with self._changed:
            self._watched.difference_update(ids)
            self._heard.difference_update(ids)

    def wait(self, timeout: float) -> list[Result]:
        """Without the carrier it goes on by looking at the store."""
        end = time.monotonic() + timeout
        while True:
            try:
                if not self._closed:
                    self._hear_again()
            except BrokerError:
                if time.monotonic() >= end:
                    raise
            with self._changed:
                deaf = self._was_deaf = self._deaf()
                pause = min(end, self._looked + (DEAF if deaf else LOOK)) - time.monotonic()
                if pause > 0:
                    self._changed.wait_for(self._stirred, pause)
                if time.monotonic() >= self._looked + (DEAF if deaf else LOOK):
                    self._looked = time.monotonic()
                    self._heard |= self._watched
                names, self._heard = list(self._heard), set()
            results = self._read(names)
            with self._changed:
                if results or self._woken or self._closed or time.monotonic() >= end:
                    self._woken = False
                    return results

    def _stirred(self) -> bool:
        return bool(self._heard) or self._woken or self._closed or self._deaf() is not self._was_deaf

    def _deaf(self) -> bool:
        return self._ear is None or self._ear.lost

    def _read(self, names: Sequence[str]) -> list[Result]:
        if not names:
            return []
        try:
            ends = self._ledger.read_as(End, [key("e", each) for each in names])
            results = [self._ledger.outcome(end) for end in ends if end]
        except BaseException:
            with self._changed:
                self._heard |= self._watched.intersection(names)
            raise
        with self._changed:
            told = [result for result in results if result.id in self._watched]
            self._watched.difference_update(result.id for result in told)
        return told

    def wake(self) -> None:
        with self._changed:
            self._woken = True
            self._changed.notify_all()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._ear is not None:
            self._ear.close()
