"""Watching a job that another process enqueued, where no job can be looked up: by what workers tell while one listens."""

from __future__ import annotations

import contextlib
from math import inf

from longboat.contract.broker import Broker
from longboat.core.clock import SYSTEM
from longboat.core.job import State
from longboat.errors import BrokerError, BrokerUnavailable, Unsupported
from longboat.observe.events import EventsDropped, JobEvent
from longboat.observe.heard import Heard, hear
from longboat.observe.stream import EventStream
from longboat.operate.traces import dead, trace
from longboat.tasks.handle import Update

UNHEARD = 60.0
"""Seconds without a sign of the job after which there is nothing to wait for, unless it is known to be queued."""
DEAD_AFTER = 2.0
"""Seconds without a sign of the job after which it is looked for among the dead: a second's work where there are many."""


class Elsewhere:
    """One job, as workers tell of it."""

    def __init__(self, broker: Broker, job_id: str) -> None:
        self._broker = broker
        self._id = job_id
        self._events = EventStream.of(broker)
        self._known: Heard | None = None
        self._over_at = SYSTEM.monotonic() + UNHEARD
        self._dead_at = SYSTEM.monotonic() + DEAD_AFTER

    def look(self) -> Update | None:
        """READY where nothing is known; None while the broker cannot be reached. Raises Unsupported after a long silence."""
        try:
            self._listen()
            found = self._seen_running()
        except BrokerUnavailable:
            return None
        if found is not None:
            return found
        now = SYSTEM.monotonic()
        if now >= (self._over_at if self._known else min(self._dead_at, self._over_at)):
            self._dead_at = inf
            if (died := self._died()) is not None:
                return died
        if now >= self._over_at:
            raise Unsupported(
                f"nothing was heard of job {self._id} for {UNHEARD:.0f} s: it waits in its queue, or it ended before this "
                "process listened. RabbitMQ alone tells its end to the process that enqueued it. "
                "Or keep a store beside it: ?results=redis://…"
            )
        return _update(self._known)

    def close(self) -> None:
        self._events.close()

    def _listen(self) -> None:
        for event in self._events.poll():
            if isinstance(event, JobEvent) and event.id == self._id:
                self._known = hear(self._known, event)
                running = self._known is None or self._known.state is State.RUNNING
                self._over_at = SYSTEM.monotonic() + UNHEARD if running else inf
            elif isinstance(event, EventsDropped):  # perhaps that of its end
                self._over_at = min(self._over_at, SYSTEM.monotonic() + UNHEARD)

    def _seen_running(self) -> Update | None:
        """A worker's record says that it runs it, or it was found cancelled."""
        if self._known is not None and self._known.state.ended:
            return None
        found = trace(self._broker, self._id)
        if found.revoked is not None and found.revoked.ended:
            return Update(State.CANCELLED)
        if not found.worker:
            return None
        self._over_at = SYSTEM.monotonic() + UNHEARD
        error = found.failure.message if found.failure else ""
        if (progress := found.progress) is None:
            return Update(State.RUNNING, error=error)
        return Update(State.RUNNING, progress.done, progress.total, progress.text, error)

    def _died(self) -> Update | None:
        with contextlib.suppress(BrokerError):
            for view in dead(self._broker, [self._id]):
                return Update(State.DEAD, error=view.failures[-1].message if view.failures else "")
        return None


def _update(known: Heard | None) -> Update:
    if known is None:
        return Update(State.READY)
    error = known.failures[-1].message if known.failures else ""
    if known.state is State.CANCELLED:
        return Update(known.state, known.done, known.total, "", known.text)
    return Update(known.state, known.done, known.total, known.text, error)
