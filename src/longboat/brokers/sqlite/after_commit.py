"""AfterCommit: wakes the workers once a caller's transaction, of whose end nobody tells, has brought jobs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from longboat.brokers.sqlite.wake import CONSUMER, Ringer
from longboat.contract.base_forks import remake_after_fork
from longboat.core.clock import SYSTEM
from longboat.core.job import Job
from longboat.core.views import JobView
from longboat.errors import BrokerError

_FIRST_PAUSE, _LONGEST_PAUSE = 0.001, 0.05
_PATIENCE = 5.0
"""Seconds after which nobody looks any more: the workers look twice a second themselves."""


class AfterCommit:
    """Looks for the last job of each put until it is there: soon at first, then ever more rarely."""

    def __init__(self, find: Callable[[Sequence[str]], list[JobView | None]], ringer: Ringer) -> None:
        self._find = find
        self._ringer = ringer
        self._lock = threading.Lock()
        self._awaited: dict[str, float] = {}
        """By id: when the job was put."""
        self._running = False
        self._news = threading.Event()
        self._closed = False
        remake_after_fork(self)

    def ring(self, jobs: Sequence[Job]) -> None:
        """Ring the workers when these jobs are there."""
        with self._lock:
            self._awaited[jobs[-1].id] = SYSTEM.monotonic()
            self._news.set()
            if not self._running:
                self._running = True
                threading.Thread(target=self._run, name="longboat-after-commit", daemon=True).start()

    def close(self) -> None:
        self._closed = True
        self._news.set()

    def after_fork(self) -> None:
        self._lock, self._news = threading.Lock(), threading.Event()
        self._awaited, self._running = {}, False

    def _run(self) -> None:
        pause = _FIRST_PAUSE
        while not self._closed:
            if self._news.wait(pause):
                pause = _FIRST_PAUSE
                self._news.clear()
            with self._lock:
                old = SYSTEM.monotonic() - _PATIENCE
                self._awaited = {job_id: at for job_id, at in self._awaited.items() if at > old}
                awaited = list(self._awaited)
                self._running = bool(awaited)
            if not awaited:
                return
            try:
                found = [view.id for view in self._find(awaited) if view]
            except BrokerError:
                found = []
            if found:
                self._ringer.ring(CONSUMER)
                with self._lock:
                    for job_id in found:
                        self._awaited.pop(job_id, None)
            pause = min(_LONGEST_PAUSE, 2 * pause)
