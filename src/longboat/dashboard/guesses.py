"""Guesses: wrong tokens by address. Who keeps guessing has to wait, and the log says so."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict

from longboat.core.clock import SYSTEM
from longboat.core.seldom import Seldom

FREE = 10
"""Wrong tokens from one address before it has to wait."""
PAUSE = 6.0
"""Seconds after which one more is allowed."""
TOLD_EVERY = 10.0
"""Seconds between two lines in the log."""
MOST = 10_000
"""Addresses that are remembered."""


class Guesses:
    """Safe to use from any thread. All behind one proxy share an address; who is signed in already is not affected."""

    def __init__(self) -> None:
        self._wrong: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._told = Seldom(TOLD_EVERY)
        self._lock = threading.Lock()

    def wait(self, address: str) -> float:
        """Seconds until a token from this address is looked at; 0 for at once."""
        with self._lock:
            return max(0.0, (self._level(address) - FREE + 1) * PAUSE)

    def wrong(self, address: str) -> None:
        """Count a wrong token."""
        now = SYSTEM.monotonic()
        with self._lock:
            self._wrong[address] = self._level(address) + 1, now
            self._wrong.move_to_end(address)
            if len(self._wrong) > MOST:
                self._wrong.popitem(last=False)
        if count := self._told.count():
            logging.getLogger("longboat.dashboard").warning("wrong tokens: %d, the last one from %s", count, address)

    def _level(self, address: str) -> float:
        """How many wrong tokens still count."""
        level, at = self._wrong.get(address, (0.0, 0.0))
        return max(0.0, level - (SYSTEM.monotonic() - at) / PAUSE)
