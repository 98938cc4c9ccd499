"""Misfits: jobs whose arguments do not fit the task here, or that a pause holds, wait as those of an unknown task do."""

from __future__ import annotations

from longboat.contract.kv import KV
from longboat.core.clock import SYSTEM
from longboat.core.job import Dead, Failure, Park
from longboat.core.reasons import PAUSED
from longboat.executors.contract import Call
from longboat.operate.misfits import over
from longboat.worker import pause_filter
from longboat.worker.finisher import Finisher
from longboat.worker.in_flight import InFlight
from longboat.worker.pause_filter import PauseFilter
from longboat.worker.runner import PATIENCE

LOOK = 1.0
AGAIN = 60.0
"""Seconds until this worker tries parked jobs of such a task again: another version of the code may have parked others."""


class Misfits:
    """A maintenance task. Their leases are held until it has seen to it that the jobs do not come back at once."""

    def __init__(self, kv: KV, in_flight: InFlight, pause_filter: PauseFilter, finisher: Finisher) -> None:
        self._kv = kv
        self._in_flight = in_flight
        self._pause_filter = pause_filter
        self._finisher = finisher
        self._held: list[tuple[Call, Failure]] = []

    def run(self, now: float) -> float:
        self._take()
        unfit = [(call, failure) for call, failure in self._held if failure.type != PAUSED]
        if len(unfit) < len(self._held):
            self._pause_filter.run(now)
        why = {call.lease.job.id: failure.message for call, failure in unfit}
        self._pause_filter.leave({call.lease.job.task for call, _ in unfit}, SYSTEM.monotonic() + AGAIN)
        old = over(self._kv, why, PATIENCE) if why else set()
        while self._held:
            call, failure = self._held.pop()
            dead = call.lease.job.id in old
            self._finisher.finish(call.lease, Dead(failure, counted=False) if dead else _park(failure))
        return now + LOOK

    def hand_back(self) -> None:
        """The worker stops, and receives nothing more: they can be parked at once."""
        self._take()
        while self._held:
            call, failure = self._held.pop()
            self._finisher.finish(call.lease, _park(failure))

    def _take(self) -> None:
        while self._in_flight.misfits:
            self._held.append(self._in_flight.misfits.popleft())


def _park(failure: Failure) -> Park:
    return Park(pause_filter.PATIENCE if failure.type == PAUSED else PATIENCE, failure)
