"""MaintenanceLoop: one thread for all that a worker does beside its jobs, such as schedules, pauses, history and tidying."""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Callable, Mapping

from longboat.contract.broker import Broker
from longboat.contract.capabilities import Capability, unsupported
from longboat.contract.optional import tidy_of
from longboat.core.clock import SYSTEM
from longboat.errors import BrokerError, Unsupported
from longboat.observe import depth
from longboat.worker.service import Service
from longboat.worker.status import Status

log = logging.getLogger("longboat.worker")

LOOK = 1.0
"""Seconds between rounds, at most."""
BUDGET = 0.1
"""Seconds that a task may take in one round, about. A task with more to do goes on in the next round, after the others."""


MaintenanceTask = Callable[[float], float]
"""Does what is due at this wall-clock time, and returns when it wants to be called again. May raise BrokerError."""


def tidying(broker: Broker) -> MaintenanceTask:
    """The broker's housekeeping. It asks late what the broker can do, as a server may have to be asked."""

    def run(now: float) -> float:
        tidy = tidy_of(broker)
        if tidy is None:
            raise unsupported(Capability.TIDY, type(broker).__name__)
        return now + tidy.tidy(BUDGET)

    return run


def sampling(broker: Broker) -> MaintenanceTask:
    """Notes every 10 s how many jobs there are, unless another worker has. Each one looks at a moment of its own."""
    behind = random.uniform(0.0, 3.0)

    def run(now: float) -> float:
        try:
            return depth.sample(broker, now) + behind
        except Unsupported:
            raise
        except BrokerError:  # nobody waits for it: the other tasks of this round have their turn
            return now + depth.EVERY + behind

    return run


class MaintenanceLoop(Service):
    """Calls each task when it is due. A task that fails is logged and tried again: jobs never depend on it."""

    def __init__(self, status: Status, tasks: Mapping[str, MaintenanceTask]) -> None:
        """`tasks`: by what people call them."""
        super().__init__("maintenance", status)
        self.tasks = dict(tasks)
        """To be added to before `start` only."""
        self._due: dict[str, float] = {}
        """By a clock that is never set back. A wall clock that jumps ahead is noticed when a task runs next."""
        self.answered = False
        """Whether the broker answered throughout the last round."""

    def last_round(self) -> None:
        """Stop, and call every task once more, as long as the broker answers."""
        self.close()
        self.answered = self.ran and self._round(last=True)

    def loop(self) -> None:
        while not self.stopping:
            self._round()
            wait = min(self._due.values(), default=math.inf) - SYSTEM.monotonic()
            self.wake.nap(max(0.0, min(LOOK, wait)))

    def _round(self, *, last: bool = False) -> bool:
        for name, task in list(self.tasks.items()):
            now, began = SYSTEM.now(), SYSTEM.monotonic()
            if not last and began < self._due.get(name, 0.0):
                continue
            self._due[name] = began + LOOK
            try:
                wait = task(now) - now
                # However much a task has to do, half of the time is the others'.
                self._due[name] = began + max(wait, 2 * (SYSTEM.monotonic() - began))
            except Unsupported:
                del self.tasks[name]  # this broker cannot do it
                del self._due[name]
            except BrokerError:
                return False  # the fetcher tells of the outage
            except Exception:
                log.exception("%s failed; jobs go on", name)
        return True
