"""Inbox: one listener brings the results of all jobs that anybody here waits for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from longboat.contract.broker import Broker
from longboat.contract.results import Listener
from longboat.core.clock import SYSTEM
from longboat.core.job import Result
from longboat.errors import AppClosed, BrokerError, JobNotFound, Unsupported

Sink = Callable[[str, Result | Exception], None]
"""Called once for each id, from the inbox's thread: with the result, or with why there will be none."""

LOOK_AFTER = 1.0
"""Seconds of waiting after which the inbox looks whether the jobs exist at all; then again ever more rarely."""


class Inbox:
    """Hands results to sinks. Its thread starts with the first wait."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._sinks: dict[str, list[Sink]] = {}
        self._lock = threading.Lock()
        self._listener: Listener | None = None
        self._thread: threading.Thread | None = None
        self._closed = False
        self._since = 0.0

    def watch(self, ids: Sequence[str], sink: Sink) -> None:
        """Give the results of these jobs to `sink`, also of those that have ended already."""
        with self._lock:
            fresh = [job_id for job_id in ids if job_id not in self._sinks]
            for job_id in ids:
                self._sinks.setdefault(job_id, []).append(sink)
            self._since = SYSTEM.monotonic()
            if self._listener is None:
                self._listener = self._broker.results.listen()
            if fresh:
                self._listener.watch(fresh)
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="longboat-inbox", daemon=True)
                thread.start()  # before `close` can join it, should Ctrl-C strike here
                self._thread = thread

    def forget(self, ids: Sequence[str], sink: Sink) -> None:
        """`sink` waits for these no longer."""
        with self._lock:
            gone = []
            for job_id in ids:
                sinks = self._sinks.get(job_id)
                if sinks and sink in sinks:
                    sinks.remove(sink)
                    if not sinks:
                        del self._sinks[job_id]
                        gone.append(job_id)
            if gone and self._listener is not None:
                self._listener.forget(gone)

    def close(self) -> None:
        """End. Those who still wait get AppClosed."""
        with self._lock:
            self._closed = True
            thread, listener = self._thread, self._listener
        if listener is not None:
            listener.wake()
        if thread is not None:
            thread.join()
        if listener is not None:
            listener.close()
        closed = AppClosed("the app was closed while this call waited; the job goes on")
        for job_id in list(self._sinks):
            self._tell(job_id, closed)

    def _run(self) -> None:
        pause, look_at = 0.05, LOOK_AFTER
        while not self._closed:
            assert self._listener is not None
            try:
                results = self._listener.wait(1.0 if self._sinks else 30.0)
                for result in results:
                    self._tell(result.id, result)
                waited = SYSTEM.monotonic() - self._since
                if results or waited < LOOK_AFTER:
                    look_at = LOOK_AFTER
                elif waited >= look_at:
                    look_at = waited * 2
                    self._look()
                pause = 0.05
            except BrokerError:  # down: every caller goes on waiting, within its own time limit
                pause = min(1.0, pause * 2)
                threading.Event().wait(pause)

    def _look(self) -> None:
        """Tell the sinks of jobs that the broker does not know."""
        ids = list(self._sinks)
        for start in range(0, len(ids), 500):
            part = ids[start : start + 500]
            try:
                found = self._broker.inspector.find(part)
            except Unsupported:
                return
            missing = [job_id for job_id, view in zip(part, found, strict=True) if view is None]
            for job_id, result in zip(missing, self._broker.results.get(missing), strict=True):
                self._tell(job_id, result or not_found(job_id))

    def _tell(self, job_id: str, what: Result | Exception) -> None:
        with self._lock:
            sinks = self._sinks.pop(job_id, [])
            if isinstance(what, Exception) and self._listener is not None and not self._closed:
                self._listener.forget([job_id])
        for sink in sinks:
            sink(job_id, what)


def not_found(job_id: str) -> JobNotFound:
    return JobNotFound(f"no job {job_id!r}: it was never enqueued here, or it ended and was pruned since")
