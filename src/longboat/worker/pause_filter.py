"""Heeding: what is paused is not taken, or handed back to wait."""

from __future__ import annotations

from longboat.contract.broker import Lease
from longboat.contract.kv import KV
from longboat.core import reasons
from longboat.core.clock import SYSTEM
from longboat.core.job import Park
from longboat.operate.pauses import paused
from longboat.worker.link import BrokerLink

LOOK = 1.0
"""Seconds after which a pause is heeded, at most."""
PATIENCE = 10 * 365 * 86400.0
"""Seconds that a job of a paused task waits: long enough for any pause."""


class PauseFilter:
    """A chore of the steward's."""

    def __init__(self, kv: KV, link: BrokerLink, name: str) -> None:
        self._kv = kv
        self._link = link
        self._name = name
        self.tasks: frozenset[str] = frozenset()
        """Their jobs are not run now."""

    def run(self, now: float) -> float:
        found = paused(self._kv)
        tasks = frozenset(found["task"])
        # A task that goes on must be known to before its parked jobs come, one that stops before they are left there.
        if not tasks:
            self.tasks = tasks
        self._link.pause(frozenset(found["queue"]), tasks)
        self.tasks = tasks
        return now + LOOK

    def park(self, lease: Lease) -> Park:
        """The outcome for a job of a paused task."""
        return Park(PATIENCE, reasons.paused(lease.job.task, SYSTEM.now(), self._name))
