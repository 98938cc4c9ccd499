"""Vitals: what a worker process answers to probes and to Prometheus."""

from __future__ import annotations

import threading
from collections.abc import Mapping

from longboat.core.clock import SYSTEM
from longboat.errors import BrokerError
from longboat.observe import metrics
from longboat.observe.metrics import Page, Sight, of_worker
from longboat.worker.broker_link import BrokerLink
from longboat.worker.executor_set import ExecutorSet
from longboat.worker.recorder import Recorder
from longboat.worker.status import Status

FRESH = 5.0
"""Seconds that an answer of the broker is shown again, so that scrapes cost it little, however many there are."""


class Vitals:
    """`enqueued`: jobs stored from this process, by queue and task."""

    def __init__(
        self,
        status: Status,
        link: BrokerLink,
        executors: ExecutorSet,
        recorder: Recorder,
        enqueued: Mapping[tuple[str, str], int],
    ) -> None:
        self._status = status
        self._link = link
        self._executors = executors
        self._recorder = recorder
        self._enqueued = enqueued
        self._lock = threading.Lock()
        self._queues = Page()
        """What all workers would say the same of, asked of the broker now and then."""
        self._asked_at = -FRESH

    def answer(self, path: str) -> tuple[int, str, str]:
        """Status, content type and text for a path."""
        match path:
            case "/metrics":
                return 200, metrics.CONTENT_TYPE, self._metrics()
            case "/livez":
                return _probed(self._status.unwell())
            case "/readyz":
                return _probed(self._unready())
        return 404, "text/plain", "there are /livez, /readyz and /metrics\n"

    def _unready(self) -> str | None:
        if self._status.error is None and self._status.finished.is_set():
            return f"stopping: {self._status.reason}"
        return self._status.unwell() or (None if self._link.up else "the broker does not answer")

    def _metrics(self) -> str:
        slots, used = sum(self._executors.slots().values()), self._executors.used()
        page = of_worker(Sight(self._recorder.totals(), self._enqueued, slots, used, self._link.up))
        with self._lock:
            if SYSTEM.monotonic() - self._asked_at >= FRESH:
                self._queues, self._asked_at = self._ask(), SYSTEM.monotonic()
            page.include(self._queues)
        return page.text()

    def _ask(self) -> Page:
        page = Page()
        try:
            metrics.add_queues(page, self._link.broker, SYSTEM.now())
        except BrokerError:  # it is down or cannot tell: then nothing is said of queues
            return Page()
        return page


def _probed(wrong: str | None) -> tuple[int, str, str]:
    return (200, "text/plain", "ok\n") if wrong is None else (503, "text/plain", f"{wrong}\n")
