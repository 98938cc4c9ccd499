"""Load: what a worker process tells the supervisor each second, so that it may add or remove processes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from longboat.contract.broker import Broker
from longboat.core.job import State
from longboat.worker.scaler import Load

EVERY = 1.0


class LoadReport:
    """A chore of the steward's."""

    def __init__(
        self,
        broker: Broker,
        queues: Sequence[str],
        ended: Callable[[], int],
        busy: Callable[[], float],
        tell: Callable[[str], None],
    ) -> None:
        self._broker = broker
        self._queues = frozenset(queues)
        self._ended = ended
        self._busy = busy
        self._tell = tell
        self._before = 0
        self._at: float | None = None
        self._rate = 0.0

    def run(self, now: float) -> float:
        ended = self._ended()
        if self._at is not None and now > self._at:
            self._rate = (self._rate + (ended - self._before) / (now - self._at)) / 2
        self._before, self._at = ended, now
        counts = self._broker.inspector.counts()
        ready = sum(
            count
            for (queue, state), count in counts.items()
            if state is State.READY and (not self._queues or queue in self._queues)
        )
        self._tell(Load(ready, self._rate, self._busy()).said())
        return now + EVERY
