"""Steward: a thread for what a worker does beside its jobs, such as firing schedules and heeding pauses."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from typing import Protocol

from longboat.clock import SYSTEM
from longboat.errors import BrokerError, Unsupported

LOOK = 1.0
"""Seconds between rounds, at most."""


class Chore(Protocol):
    """Something to see to now and then."""

    def tend(self, now: float) -> float:
        """Do what is due at this wall-clock time; returns when it wants to be called again. May raise BrokerError."""
        ...


class Steward:
    """Calls each chore when it is due. What fails is tried again: jobs never depend on it."""

    def __init__(self, chores: Sequence[Chore]) -> None:
        self._due: dict[Chore, float] = dict.fromkeys(chores, 0.0)
        self._wake = threading.Event()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="longboat-steward", daemon=True)

    def add(self, chore: Chore) -> None:
        """Another one; before `start`."""
        self._due[chore] = 0.0

    def start(self) -> None:
        self._thread.start()

    def close(self) -> bool:
        """Every chore is called a last time, as long as the broker answers. Whether it did."""
        self._closing = True
        self._wake.set()
        if self._thread.ident is None:
            return False
        self._thread.join()
        return self._round(float("inf"))

    def _run(self) -> None:
        while not self._closing:
            self._round(SYSTEM.now())
            now = SYSTEM.now()
            self._wake.wait(max(0.0, min([now + LOOK, *self._due.values()]) - now))
            self._wake.clear()

    def _round(self, until: float) -> bool:
        for chore, due in list(self._due.items()):
            if due > until:
                continue
            now = SYSTEM.now()
            try:
                self._due[chore] = chore.tend(now)
            except Unsupported:
                del self._due[chore]  # this broker has no board
            except BrokerError:
                self._due[chore] = now + LOOK  # the fetcher tells of the outage
                return False
            except Exception:
                logging.getLogger("longboat").exception("%s failed; jobs go on", type(chore).__name__)
                self._due[chore] = now + LOOK
        return True
