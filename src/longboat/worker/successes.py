"""Successes: at the log's usual level, a line for each job that succeeded while they are few, else how many there were."""

from __future__ import annotations

from collections import Counter, deque
from time import monotonic

from longboat.executors.contract import Call
from longboat.observe.events import Bus, JobsSucceeded, JobSucceeded
from longboat.observe.logs import success
from longboat.worker.maintenance import MaintenanceTask
from longboat.worker.recorder import Recorder

FEW = 10
"""Jobs in a second that have a line each."""
SUMMED = 10.0
"""Seconds between summaries."""


class Successes:
    """A maintenance task. `note` is called by the threads that end calls, while there is room: a flag for all others."""

    def __init__(self, worker: str, recorder: Recorder) -> None:
        self.room = 0
        """How many may be noted now."""
        self._worker = worker
        self._recorder = recorder
        self._noted: deque[JobSucceeded] = deque()
        self._seen = 0
        """Calls that had ended at the last look."""
        self._many = False
        """Since the last summary, some jobs had no line."""
        self._counted: Counter[str] = Counter()
        self._sum_at = 0.0
        self._bus = Bus()
        self._bus.listen(success, every_job=True)

    def start(self) -> MaintenanceTask:
        """From now on. Returns the task."""
        self.room = FEW
        return self.run

    def note(self, call: Call) -> None:
        self.room -= 1
        job, seconds = call.lease.job, monotonic() - call.started
        self._noted.append(JobSucceeded(self._worker, job.id, job.task, job.queue, call.lease.attempt, seconds))

    def run(self, now: float) -> float:
        self._tell_noted()
        ended, self._seen = self._recorder.seen - self._seen, self._recorder.seen
        self._many = self._many or ended > FEW
        self.room = FEW if ended <= FEW else 0
        if now >= self._sum_at:
            self._sum_at = now + SUMMED
            self._sum_up()
        return now + 1.0

    def leave(self, seconds: float) -> None:
        """Have the last lines written, within so many seconds."""
        self._tell_noted()
        self._sum_up()
        self._bus.flush(seconds)

    def _tell_noted(self) -> None:
        while self._noted:
            self._bus.emit(self._noted.popleft())

    def _sum_up(self) -> None:
        before, many = self._counted, self._many
        self._counted, self._many = Counter(), False
        for (_, task), tally in self._recorder.totals().items():
            self._counted[task] += tally.succeeded
        if many and (more := self._counted - before):
            self._bus.emit(JobsSucceeded(self._worker, more.total(), dict(more.most_common())))
