"""Inbox: one listener brings the results of all jobs that anybody here waits for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from longboat.contract.broker import Broker
from longboat.contract.results import Listener
from longboat.core.job import Result
from longboat.core.views import JobView
from longboat.errors import AppClosed, BrokerError, JobNotFound

TOGETHER = 500
"""Jobs in one look."""

Sink = Callable[[str, Result | Exception], None]
"""Called once for each id, from another thread or from `look`: with the result, or with why there will be none."""


class Inbox:
    """Hands results to sinks. Its thread starts with the first wait."""

    def __init__(self, broker: Broker, *, patient: bool = False, address: str = "") -> None:
        """`patient`: one may begin to wait while the broker is away. Otherwise that raises BrokerUnavailable.

        `address`: the broker's, for messages.
        """
        self._broker = broker
        self._patient = patient
        self._address = address
        self._sinks: dict[str, list[Sink]] = {}
        self._lock = threading.Lock()
        self._listener: Listener | None = None
        self._thread: threading.Thread | None = None
        self._closed = False

    def watch(self, ids: Sequence[str], sink: Sink) -> None:
        """Give the results of these jobs to `sink`, also of those that have ended already.

        Raises what the broker does: BrokerUnavailable, or Unsupported for jobs whose results it cannot tell here.
        """
        with self._lock:
            if not self._patient:
                self._listen()
            fresh = [job_id for job_id in ids if job_id not in self._sinks]
            if fresh and self._listener is not None:
                self._listener.watch(fresh)  # it may be heard before the sinks are there, but not told: see `tell`
            for job_id in ids:
                self._sinks.setdefault(job_id, []).append(sink)
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="longboat-inbox", daemon=True)
                thread.start()  # before `close` can join it, should Ctrl-C strike here
                self._thread = thread

    def _listen(self) -> Listener:
        """Called with the lock held."""
        if self._listener is None:
            listener = self._broker.results.listen()
            if self._patient:
                listener.watch(list(self._sinks))
            self._listener = listener
        return self._listener

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
            self.tell(job_id, closed)

    def look(self, ids: Sequence[str]) -> list[JobView | None]:
        """Tell the sinks of jobs that the broker does not know; returns what it knows. Raises BrokerError."""
        found: list[JobView | None] = []
        for start in range(0, len(ids), TOGETHER):
            found += self._broker.inspector.find(ids[start : start + TOGETHER])
        missing = [job_id for job_id, view in zip(ids, found, strict=True) if view is None]
        if missing:
            with self._lock:
                if self._listener is not None and not self._closed:
                    self._listener.forget(missing)
            for job_id, result in zip(missing, self._broker.results.get(missing), strict=True):
                self.tell(job_id, result or not_found(job_id, self._address))
        return found

    def _run(self) -> None:
        pause = 0.05
        while not self._closed:
            try:
                with self._lock:
                    listener = self._listen()
                for result in listener.wait(1.0 if self._sinks else 30.0):
                    self.tell(result.id, result)
                pause = 0.05
            except BrokerError:  # down: every caller goes on waiting, within its own time limit
                pause = min(1.0, pause * 2)
                threading.Event().wait(pause)

    def tell(self, job_id: str, what: Result | Exception) -> None:
        """Tell those who wait for the job."""
        with self._lock:
            sinks = self._sinks.pop(job_id, [])
        for sink in sinks:
            sink(job_id, what)


def not_found(job_id: str, address: str = "") -> JobNotFound:
    """`address`: the broker's, without its secrets."""
    there = f" at {address}" if address else ""
    return JobNotFound(f"no job {job_id!r}{there}: it was never enqueued here, or it ended and was pruned since")
