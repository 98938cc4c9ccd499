"""Load: what a worker process tells the supervisor each second, so that it can add or remove processes."""

from __future__ import annotations

from collections.abc import Callable

from longboat.core.job import State
from longboat.worker.broker_link import BrokerLink
from longboat.worker.executor_set import ExecutorSet
from longboat.worker.in_flight import InFlight
from longboat.worker.scaler import Load

EVERY = 1.0


class LoadReport:
    """A maintenance task."""

    def __init__(self, link: BrokerLink, in_flight: InFlight, executors: ExecutorSet, tell: Callable[[str], None]) -> None:
        self._broker = link.broker
        self._queues = frozenset(link.options.queues)
        self._in_flight = in_flight
        self._executors = executors
        self._tell = tell
        self._before = 0
        self._at: float | None = None
        self._rate = 0.0

    def run(self, now: float) -> float:
        ended = self._in_flight.total()
        if self._at is not None and now > self._at:
            self._rate = (self._rate + (ended - self._before) / (now - self._at)) / 2
        self._before, self._at = ended, now
        counts = self._broker.inspector.counts()
        ready = sum(
            count
            for (queue, state), count in counts.items()
            if state is State.READY and (not self._queues or queue in self._queues)
        )
        self._tell(Load(ready, self._rate, self._executors.busy()).said())
        return now + EVERY
