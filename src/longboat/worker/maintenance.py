"""MaintenanceLoop: one thread for all that a worker does beside its jobs, such as schedules, pauses, history and tidying."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Protocol

from longboat.core.clock import SYSTEM
from longboat.errors import BrokerError, Unsupported
from longboat.worker.service import Service
from longboat.worker.status import Status

log = logging.getLogger("longboat.worker")

LOOK = 1.0
"""Seconds between rounds, at most."""
BUDGET = 0.1
"""Seconds that a task may take in one round, about. A task with more to do goes on in the next round, after the others."""


class MaintenanceTask(Protocol):
    """Something that is to be done now and then."""

    def run(self, now: float) -> float:
        """Do what is due at this wall-clock time; returns when it wants to run again. May raise BrokerError."""
        ...


class MaintenanceLoop(Service):
    """Runs each task when it is due. A task that fails is logged and tried again: jobs never depend on it."""

    def __init__(self, status: Status, tasks: Sequence[MaintenanceTask]) -> None:
        super().__init__("maintenance", status)
        self._due: dict[MaintenanceTask, tuple[float, float]] = dict.fromkeys(tasks, (0.0, 0.0))
        """By the wall clock, and by one that is never set back: whichever comes first."""
        self.answered = False
        """Whether the broker answered throughout the last round."""

    def add(self, task: MaintenanceTask) -> None:
        """Another one; before `start`."""
        self._due[task] = 0.0, 0.0

    def last_round(self) -> None:
        """Stop, and run every task once more, as long as the broker answers."""
        self.close()
        self.answered = self.ran and self._round(last=True)

    def loop(self) -> None:
        while not self.stopping:
            self._round()
            now, steady = SYSTEM.now(), SYSTEM.monotonic()
            next_due = min((min(wall - now, other - steady) for wall, other in self._due.values()), default=LOOK)
            self.wake.nap(max(0.0, min(LOOK, next_due)))

    def _round(self, *, last: bool = False) -> bool:
        for task, (wall, other) in list(self._due.items()):
            now, steady = SYSTEM.now(), SYSTEM.monotonic()
            if not last and now < wall and steady < other:
                continue
            try:
                wait = task.run(now) - now
                # However much a task has to do, half of the time is the others'.
                wait = max(wait, 2 * (SYSTEM.monotonic() - steady))
                self._due[task] = now + wait, steady + wait
            except Unsupported:
                del self._due[task]  # this broker cannot do it
            except BrokerError:
                self._due[task] = now + LOOK, steady + LOOK  # the fetcher tells of the outage
                return False
            except Exception:
                log.exception("%s failed; jobs go on", type(task).__name__)
                self._due[task] = now + LOOK, steady + LOOK
        return True
