"""PauseFilter: jobs of paused queues are not received; those of paused tasks are parked."""

from __future__ import annotations

from collections.abc import Collection

from longboat.contract.broker import Lease
from longboat.contract.kv import KV
from longboat.core import reasons
from longboat.core.clock import SYSTEM
from longboat.core.job import Park
from longboat.operate.pauses import paused
from longboat.worker.broker_link import BrokerLink

LOOK = 1.0
"""Seconds until a pause takes effect, at most."""
PATIENCE = 10 * 365 * 86400.0
"""Seconds that a job of a paused task waits: long enough for any pause."""


class PauseFilter:
    """A maintenance task."""

    def __init__(self, kv: KV, link: BrokerLink, name: str) -> None:
        self._kv = kv
        self._link = link
        self._name = name
        self.tasks: frozenset[str] = frozenset()
        """The paused ones: their jobs do not run."""
        self._queues: frozenset[str] = frozenset()
        self._left: dict[str, float] = {}
        """By task: until when its parked jobs are left where they are."""

    def run(self, now: float) -> float:
        found = paused(self._kv)
        tasks = frozenset(found["task"])
        self.tasks &= tasks  # a task goes on before its parked jobs come, and stops once they are left where they are
        self._queues = frozenset(found["queue"])
        self._link.pause(self._queues, tasks | self._left.keys())
        self.tasks = tasks
        return now + LOOK

    def leave(self, tasks: Collection[str], until: float) -> None:
        """Receive no parked jobs of these tasks before this monotonic time, though others of them."""
        now = SYSTEM.monotonic()
        self._left = {task: end for task, end in self._left.items() if end > now} | dict.fromkeys(tasks, until)
        self._link.pause(self._queues, self.tasks | self._left.keys())

    def park(self, lease: Lease) -> Park:
        """The outcome for a job of a paused task."""
        return Park(PATIENCE, reasons.paused(lease.job.task, SYSTEM.now(), self._name))
