"""Recycling: finishes a worker whose process should be replaced."""

from __future__ import annotations

from longboat.core.memory import resident
from longboat.worker.executor_set import ExecutorSet
from longboat.worker.status import Status

LOOK = 1.0

RECYCLED = frozenset({"max-jobs", "max-memory", "worn", "reload"})
"""Reasons to finish that ask for a new process."""


class Recycling:
    """A maintenance task: looks whether an executor is worn, or the process has grown too large."""

    def __init__(self, status: Status, executors: ExecutorSet, max_memory: int | None) -> None:
        self._status = status
        self._executors = executors
        self._max_memory = max_memory

    def run(self, now: float) -> float:
        if self._executors.worn:
            self._status.finish("worn")
        if self._max_memory is not None and resident() > self._max_memory:
            self._status.finish("max-memory")
        return now + LOOK
