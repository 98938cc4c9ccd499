"""MaintenanceLoop: one thread for all that a worker does beside its jobs, such as schedules, pauses, history and tidying."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from longboat.core.clock import SYSTEM
from longboat.errors import BrokerError, Unsupported
from longboat.worker.service import Service
from longboat.worker.status import Status

log = logging.getLogger("longboat.worker")

LOOK = 1.0
"""Seconds between rounds, at most."""
BUDGET = 0.1
"""Seconds that a task may take in one round, about. A task with more to do goes on in the next round, after the others."""


MaintenanceTask = Callable[[float], float]
"""Does what is due at this wall-clock time, and returns when it wants to be called again. May raise BrokerError."""


class MaintenanceLoop(Service):
    """Calls each task when it is due. A task that fails is logged and tried again: jobs never depend on it."""

    def __init__(self, status: Status, tasks: Mapping[str, MaintenanceTask]) -> None:
        """`tasks`: by what people call them."""
        super().__init__("maintenance", status)
        self.tasks = dict(tasks)
        """To be added to before `start` only."""
        self._due: dict[str, tuple[float, float]] = {}
        """By the wall clock, and by one that is never set back: whichever comes first."""
        self.answered = False
        """Whether the broker answered throughout the last round."""

    def last_round(self) -> None:
        """Stop, and call every task once more, as long as the broker answers."""
        self.close()
        self.answered = self.ran and self._round(last=True)

    def loop(self) -> None:
        while not self.stopping:
            self._round()
            now, steady = SYSTEM.now(), SYSTEM.monotonic()
            next_due = min((min(wall - now, other - steady) for wall, other in self._due.values()), default=LOOK)
            self.wake.nap(max(0.0, min(LOOK, next_due)))

    def _round(self, *, last: bool = False) -> bool:
        for name, task in list(self.tasks.items()):
            wall, other = self._due.get(name, (0.0, 0.0))
            now, steady = SYSTEM.now(), SYSTEM.monotonic()
            if not last and now < wall and steady < other:
                continue
            try:
                wait = task(now) - now
                # However much a task has to do, half of the time is the others'.
                wait = max(wait, 2 * (SYSTEM.monotonic() - steady))
                self._due[name] = now + wait, steady + wait
            except Unsupported:
                del self.tasks[name]  # this broker cannot do it
                self._due.pop(name, None)
            except BrokerError:
                self._due[name] = now + LOOK, steady + LOOK  # the fetcher tells of the outage
                return False
            except Exception:
                log.exception("%s failed; jobs go on", name)
                self._due[name] = now + LOOK, steady + LOOK
        return True
