"""Steward: a thread for what a worker does beside its jobs, such as firing schedules and heeding pauses."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from typing import Protocol

from longboat.core.clock import SYSTEM
from longboat.errors import BrokerError, Unsupported

LOOK = 1.0
"""Seconds between rounds, at most."""
BUDGET = 0.1
"""Seconds that a task may take in one round, about. A task with more to do goes on in the next round, after the others."""


class MaintenanceTask(Protocol):
    """Something to see to now and then."""

    def run(self, now: float) -> float:
        """Do what is due at this wall-clock time; returns when it wants to be called again. May raise BrokerError."""
        ...


class MaintenanceLoop:
    """Calls each chore when it is due. What fails is tried again: jobs never depend on it."""

    def __init__(self, tasks: Sequence[MaintenanceTask]) -> None:
        self._due: dict[MaintenanceTask, tuple[float, float]] = dict.fromkeys(tasks, (0.0, 0.0))
        """By the wall clock, and by one that nobody sets back: whichever comes first."""
        self._wake = threading.Event()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="longboat-steward", daemon=True)

    def add(self, task: MaintenanceTask) -> None:
        """Another one; before `start`."""
        self._due[task] = 0.0, 0.0

    def start(self) -> None:
        self._thread.start()

    def close(self) -> bool:
        """Every chore is called a last time, as long as the broker answers. Whether it did."""
        self._closing = True
        self._wake.set()
        if self._thread.ident is None:
            return False
        self._thread.join()
        return self._round(last=True)

    def _run(self) -> None:
        while not self._closing:
            self._round()
            now, steady = SYSTEM.now(), SYSTEM.monotonic()
            self._wake.wait(max(0.0, min([LOOK, *(min(wall - now, other - steady) for wall, other in self._due.values())])))
            self._wake.clear()

    def _round(self, *, last: bool = False) -> bool:
        for task, (wall, other) in list(self._due.items()):
            now, steady = SYSTEM.now(), SYSTEM.monotonic()
            if not last and now < wall and steady < other:
                continue
            try:
                due = task.run(now)
                self._due[task] = due, steady + due - now
            except Unsupported:
                del self._due[task]  # this broker has no board
            except BrokerError:
                self._due[task] = now + LOOK, steady + LOOK  # the fetcher tells of the outage
                return False
            except Exception:
                logging.getLogger("longboat").exception("%s failed; jobs go on", type(task).__name__)
                self._due[task] = now + LOOK, steady + LOOK
        return True
