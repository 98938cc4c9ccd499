"""Dead jobs where each look takes them out of their queue for a moment: all pages of a process share one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence

import msgspec

from longboat.contract.broker import Broker
from longboat.contract.kv import KV
from longboat.core.clock import SYSTEM
from longboat.core.job import State
from longboat.core.views import JobView, Page
from longboat.operate.traces import LOOKED_AT

LEAST, MOST = 5.0, 60.0
"""Seconds between two looks at a queue: at least, and as long as there are as many dead jobs as before."""


class _Look(msgspec.Struct):
    at: float
    number: int
    """How many dead jobs were counted."""
    page: Page


class DeadJobs:
    """A broker as searches see it, which lists dead jobs only. Safe to use from any thread: one at a time looks."""

    def __init__(self, broker: Callable[[], Broker], number: Callable[[str], int]) -> None:
        """`number` counts the dead jobs of a queue, or of all."""
        self._broker = broker
        self._number = number
        self._lock = threading.Lock()
        self._looks: dict[str, _Look] = {}
        """By queue."""

    @property
    def inspector(self) -> DeadJobs:
        return self

    @property
    def kv(self) -> KV:
        return self._broker().kv

    def counts(self) -> Mapping[tuple[str, State], int]:
        return self._broker().inspector.counts()

    def find(self, ids: Sequence[str]) -> list[JobView | None]:
        return self._broker().inspector.find(ids)

    def jobs(
        self, state: State, *, queue: str | None = None, task: str | None = None, after: str | None = None, limit: int = 100
    ) -> Page:
        if state is not State.DEAD or after is not None:
            return self._broker().inspector.jobs(state, queue=queue, task=task, after=after, limit=limit)
        with self._lock:
            now, number, seen = SYSTEM.monotonic(), self._number(queue or ""), self._looks.get(queue or "")
            if seen is None or now - seen.at >= (MOST if number and number == seen.number else LEAST):
                seen = _Look(now, number, self._broker().inspector.jobs(state, queue=queue, limit=LOOKED_AT))
                self._looks = {name: look for name, look in self._looks.items() if now - look.at < MOST}
                self._looks[queue or ""] = seen
        return Page([view for view in seen.page.jobs if task in (None, view.task)][:limit], None)

    def forget(self) -> None:
        """Something was changed here: look again."""
        with self._lock:
            self._looks.clear()
