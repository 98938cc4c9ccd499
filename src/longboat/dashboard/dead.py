"""Jobs where none can be looked up: dead ones, and those that workers told of.

Each look at dead jobs takes them out of their queue for a moment: all pages of a process share one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence

import msgspec

from longboat.contract.broker import Broker
from longboat.contract.kv import KV
from longboat.core.clock import SYSTEM
from longboat.core.job import State
from longboat.core.views import JobView, Page
from longboat.dashboard.overheard import Overheard
from longboat.operate.traces import LOOKED_AT

LEAST, MOST = 5.0, 60.0
"""Seconds between two looks at a queue: at least, and as long as there are as many dead jobs as before."""


class _Look(msgspec.Struct):
    at: float
    number: int
    """How many dead jobs were counted."""
    page: Page


class KnownJobs:
    """A broker as searches see it, where no job can be looked up. Safe to use from any thread: one at a time looks."""

    def __init__(self, broker: Callable[[], Broker], number: Callable[[str], int], overheard: Overheard) -> None:
        """`number` counts the dead jobs of a queue, or of all."""
        self._broker = broker
        self._number = number
        self._overheard = overheard
        self._lock = threading.Lock()
        self._looks: dict[str, _Look] = {}
        """By queue."""

    @property
    def inspector(self) -> KnownJobs:
        return self

    @property
    def kv(self) -> KV:
        return self._broker().kv

    def counts(self) -> Mapping[tuple[str, State], int]:
        return self._broker().inspector.counts()

    def find(self, ids: Sequence[str]) -> list[JobView | None]:
        """Dead ones, and what was told of others; None: nothing is known of it."""
        heard = self._overheard.find(ids)
        if all(view is not None and view.state is not State.DEAD for view in heard):
            return heard
        dead = {view.id: view for view in self.jobs(State.DEAD, limit=LOOKED_AT).jobs}
        others = [None if view is not None and view.state is State.DEAD else view for view in heard]  # it is dead no more
        return [dead.get(each, view) for each, view in zip(ids, others, strict=True)]

    def jobs(
        self, state: State, *, queue: str | None = None, task: str | None = None, after: str | None = None, limit: int = 100
    ) -> Page:
        if after is not None or (state is not State.DEAD and self._overheard.since is None):
            return self._broker().inspector.jobs(state, queue=queue, task=task, after=after, limit=limit)
        if state is not State.DEAD:
            return Page(self._overheard.jobs(state, queue, task, limit), None)
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
