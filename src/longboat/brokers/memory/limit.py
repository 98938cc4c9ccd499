"""What the jobs of one limit's key hold, and who waits in front of it."""

from __future__ import annotations

import math
from collections import deque
from itertools import islice
from typing import Any

from longboat.brokers.memory.shelf import Key, Shelf
from longboat.core.constraints import JobLimit


class LimitUsage:
    """The leases of a key, its latest starts, and a line in front of it for each queue."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.held: dict[int, Any] = {}
        """What is leased, by the lease's token."""
        self.starts: deque[tuple[float, float]] = deque()
        """(when, until when it matters)"""
        self.rings: float | None = None
        """For when an alarm was set last."""
        self.lines: dict[str, Shelf] = {}
        """By queue: whom it let go first may be of a queue that nobody serves, which must not hold up another queue's."""

    @property
    def idle(self) -> bool:
        return not (self.held or self.starts or self.lines)

    def room(self, limit: JobLimit, now: float) -> float:
        """How many more jobs with such a gate may be leased now."""
        while self.starts and self.starts[0][1] <= now:
            self.starts.popleft()
        running = math.inf if limit.running is None else limit.running - len(self.held)
        starts = math.inf if limit.starts is None else limit.starts - len(self._in_time(limit, now))
        return max(0, min(running, starts))

    def opens(self, limit: JobLimit, now: float) -> float | None:
        """When it opens, if it is time that shuts it."""
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

    def line_up(self, queue: str, key: Key) -> None:
        self.lines.setdefault(queue, Shelf()).add(key)

    def leave_line(self, queue: str, key: Key) -> None:
        self.lines[queue].remove(key)
        if not self.lines[queue]:
            del self.lines[queue]

    def heads(self) -> list[Any]:
        """The first of each line."""
        return [next(line.above(()))[-1] for line in self.lines.values()]

    def first(self, head: Any, room: float) -> list[Any]:
        """So many from the head of its line on."""
        line = self.lines[head.queue]
        return [key[-1] for key in islice(line.above(()), int(min(room, len(line))))]
