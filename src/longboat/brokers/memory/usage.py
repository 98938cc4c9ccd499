"""What the jobs of one limit's key use of it, and which jobs it blocks."""

from __future__ import annotations

import math
from collections import deque
from itertools import islice
from typing import Any

from longboat.brokers.memory.shelf import Key, Shelf
from longboat.core.constraints import JobLimit


class LimitUsage:
    """The leases of a key, its latest starts, and the jobs it blocks, by queue."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.held: dict[int, Any] = {}
        """What is leased, by the lease's token."""
        self.starts: deque[tuple[float, float]] = deque()
        """(when, until when it matters)"""
        self.alarm: float | None = None
        """When the last alarm that was set goes off."""
        self.blocked: dict[str, Shelf] = {}
        """By queue: the first job may be in a queue that nobody serves, and must not hold up another queue's."""

    @property
    def idle(self) -> bool:
        return not (self.held or self.starts or self.blocked)

    def room(self, limit: JobLimit, now: float) -> float:
        """How many more jobs with such a limit may be leased now."""
        while self.starts and self.starts[0][1] <= now:
            self.starts.popleft()
        running = math.inf if limit.running is None else limit.running - len(self.held)
        starts = math.inf if limit.starts is None else limit.starts - len(self._in_time(limit, now))
        return max(0, min(running, starts))

    def opens(self, limit: JobLimit, now: float) -> float | None:
        """When it has room again, if time alone keeps it full."""
        times = self._in_time(limit, now)
        if not limit.starts or len(times) < limit.starts or (limit.running or math.inf) <= len(self.held):
            return None
        return times[-limit.starts] + limit.per

    def _in_time(self, limit: JobLimit, now: float) -> list[float]:
        return [at for at, _ in self.starts if at > now - limit.per] if limit.starts is not None else []

    def enter(self, limit: JobLimit, token: int, record: Any, now: float) -> None:
        self.held[token] = record
        if limit.starts is not None:
            self.starts.append((now, now + limit.per))

    def block(self, queue: str, key: Key) -> None:
        self.blocked.setdefault(queue, Shelf()).add(key)

    def unblock(self, queue: str, key: Key) -> None:
        self.blocked[queue].remove(key)
        if not self.blocked[queue]:
            del self.blocked[queue]

    def heads(self) -> list[Any]:
        """The first blocked job of each queue."""
        return [next(jobs.above(()))[-1] for jobs in self.blocked.values()]

    def first(self, queue: str, room: float) -> list[Any]:
        """The first blocked jobs of a queue, as many as there is room for."""
        jobs = self.blocked[queue]
        return [key[-1] for key in islice(jobs.above(()), int(min(room, len(jobs))))]
