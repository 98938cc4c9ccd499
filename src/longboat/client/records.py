"""TaskRecords: what workers have told of tasks, for those who enqueue by name."""

from __future__ import annotations

from longboat.contract.kv import KV
from longboat.core.clock import SYSTEM
from longboat.errors import BrokerUnavailable, Unsupported
from longboat.tasks.record import NAMESPACE, Told, told

FRESH = 5.0
"""Seconds that what a worker told is used again."""
AGAIN = 1.0
"""Seconds that it is believed that none has told."""
MOST = 1000
"""Tasks that are kept in mind."""


class TaskRecords:
    """Safe to use from several threads."""

    def __init__(self, kv: KV, *, patient: bool = False) -> None:
        """`patient`: while the broker is away, what was known last is used."""
        self._kv = kv
        self._patient = patient
        self._known: dict[str, tuple[float, Told | None]] = {}
        """Until when it is used."""

    def get(self, task: str) -> Told | None:
        """None if no worker has told of the task, or the broker cannot keep it. Raises BrokerUnavailable."""
        until, found = self._known.get(task, (0.0, None))
        if SYSTEM.monotonic() < until:
            return found
        try:
            found = told(self._kv.read(NAMESPACE, [task])[0])
        except Unsupported:
            found = None
        except BrokerUnavailable:
            if not (self._patient and task in self._known):
                raise
        if len(self._known) >= MOST:
            self._known.clear()
        self._known[task] = SYSTEM.monotonic() + (AGAIN if found is None else FRESH), found
        return found

    def fresh(self, task: str) -> bool:
        """Whether `get` answers without asking the broker."""
        return SYSTEM.monotonic() < self._known.get(task, (0.0, None))[0]
