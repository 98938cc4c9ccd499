"""PauseFilter: jobs of paused queues are not received; those of paused tasks, and those that a rule holds, are parked."""

from __future__ import annotations

from collections.abc import Collection

from longboat.contract.broker import Lease
from longboat.contract.kv import KV
from longboat.core import reasons
from longboat.core.clock import SYSTEM
from longboat.core.job import Failure, Park, State
from longboat.core.views import job_view
from longboat.operate.pauses import Rule, paused, rules
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
        self.rules: list[Rule] = []
        """The pauses of single jobs."""
        self._queues: frozenset[str] = frozenset()
        self._left: dict[str, float] = {}
        """By task: until when its parked jobs are left where they are."""
        self._holding: frozenset[tuple[Rule, str]] = frozenset()
        """Rules, and tasks of which they hold jobs: their parked jobs are left where they are as well."""

    def run(self, now: float) -> float:
        found = paused(self._kv)
        tasks, present = frozenset(found["task"]), rules(found)
        if present != self.rules:
            self.rules, self._holding = present, frozenset()  # all are received again, and judged anew
        self._holding = frozenset(each for each in self._holding if each[0] in present)
        self.tasks &= tasks  # a task goes on before its parked jobs come, and stops once they are left where they are
        self._queues = frozenset(found["queue"])
        self._pause(tasks)
        self.tasks = tasks
        return now + LOOK

    def leave(self, tasks: Collection[str], until: float) -> None:
        """Receive no parked jobs of these tasks before this monotonic time, though others of them."""
        now = SYSTEM.monotonic()
        self._left = {task: end for task, end in self._left.items() if end > now} | dict.fromkeys(tasks, until)
        self._pause(self.tasks)

    def _pause(self, tasks: frozenset[str]) -> None:
        self._link.pause(self._queues, tasks | self._left.keys() | {task for _, task in self._holding})

    def hold(self, lease: Lease) -> Failure | None:
        """Why the job is to be parked, if a rule holds it; once `run` has seen to it that it does not come back at once."""
        job = lease.job
        view = job_view(job, None, id=job.id, state=State.READY, queue=job.queue, attempts=0, failures=[])
        for rule in self.rules:
            if rule.holds(view):
                self._holding |= {(rule, job.task)}
                return Failure(reasons.PAUSED, rule.said, at=SYSTEM.now(), worker=self._name)
        return None

    def park(self, lease: Lease) -> Park:
        """The outcome for a job of a paused task."""
        return Park(PATIENCE, reasons.paused(lease.job.task, SYSTEM.now(), self._name))
