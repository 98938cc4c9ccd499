"""Leases: the heartbeat for all that this worker holds, and the watch over it: starts noted, time limits kept, waits short.

Its thread does nothing else, so that no busy task can starve the heartbeat for long: a lease of 15 s outlives what
was measured (16 CPU-bound threads held an event loop up for 0.9 s).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import monotonic

from longboat.contract.broker import Consumer, Pulse
from longboat.core.clock import SYSTEM
from longboat.errors import BrokerError
from longboat.executors.contract import Call, CallEnd
from longboat.observe.events import Bus, JobsLost
from longboat.worker.broker_link import BrokerLink
from longboat.worker.in_flight import InFlight
from longboat.worker.runner import Runner
from longboat.worker.service import Service
from longboat.worker.status import Status

BEAT = 1.0
"""Seconds between heartbeats; brokers write only when a lease needs it."""
TICK = 0.05
NOTE_AFTER = 0.025
"""Seconds after which a running call is noted as started. Shorter jobs are settled before, and cost nothing."""
KILL_AFTER = 5.0
"""Seconds from asking a call to stop until it is killed."""


class Leases(Service):
    """Asleep only while there is nothing to watch, until the next heartbeat is due."""

    def __init__(
        self,
        status: Status,
        link: BrokerLink,
        in_flight: InFlight,
        runner: Runner,
        bus: Bus,
        watches: Sequence[Callable[[float], None]],
    ) -> None:
        super().__init__("leases", status, in_flight.watch)
        self._link = link
        self._in_flight = in_flight
        self._runner = runner
        self._bus = bus
        self._watches = watches
        """Called with the monotonic time at each look."""
        self._doomed: list[Call] = []
        """Calls whose lease is lost: stopped already, killed when their time comes."""

    def loop(self) -> None:
        in_flight = self._in_flight
        beat_at = 0.0
        while not self.stopping:
            calls = list(in_flight.calls)
            now = monotonic()
            if calls or self._doomed:
                self._keep_time(calls, now)
                self._note_started(calls, now)
            for watch in self._watches:
                watch(now)
            if now >= beat_at or in_flight.beat_soon:
                beat_at, in_flight.beat_soon = now + BEAT, False
                self.status.beat_at = SYSTEM.monotonic()
                self.status.beaten()
                self._beat()
            if in_flight.calls or self._doomed:
                self.wake.nap(TICK)
            else:
                self.wake.sleep(max(0.0, beat_at - monotonic()), unless=lambda: in_flight.calls or in_flight.beat_soon)

    def _keep_time(self, calls: list[Call], now: float) -> None:
        for call in calls:
            if call.deadline == 0.0:
                timeout = call.settings.timeout
                if timeout is None or not call.started:
                    continue
                call.deadline = call.started + timeout
            if now >= call.deadline:
                self._end(call, now)
        for call in [call for call in self._doomed if now >= call.deadline]:
            self._doomed.remove(call)
            self._runner.kill(call)

    def _end(self, call: Call, now: float) -> None:
        if call.stopping is None:
            call.deadline = now + KILL_AFTER
            self._runner.stop(call, CallEnd.TIMEOUT)
        else:
            call.deadline = float("inf")
            self._runner.kill(call)

    def _note_started(self, calls: list[Call], now: float) -> None:
        fresh = [call for call in calls if call.started and not call.noted and now - call.started >= NOTE_AFTER]
        if fresh:
            try:
                self._link.consumer().settle((), started=[call.lease for call in fresh])
            except BrokerError:
                return  # the next tick tries again
            for call in fresh:
                call.noted = True

    def _beat(self) -> None:
        try:
            consumer = self._link.consumer()
            pulse = consumer.extend()
        except BrokerError:
            return  # the fetcher and the settler tell of the outage; a lease outlives a few missed beats
        self._obey(consumer, pulse)

    def _obey(self, consumer: Consumer, pulse: Pulse) -> None:
        now = monotonic()
        for job, failure in pulse.ended:
            self._runner.ended(job, failure)
        if not pulse.alive:
            lost = self._runner.let_go()
            for call in lost:
                call.deadline = now + KILL_AFTER
            self._doomed += lost
            self._link.lost(consumer)
            self._bus.emit(JobsLost(self.status.name, len(lost)))
        elif pulse.cancelled:
            wanted = set(pulse.cancelled)
            for call in list(self._in_flight.calls):
                if call.lease.job.id in wanted and call.stopping is None:
                    call.deadline = now + KILL_AFTER
                    self._runner.stop(call, CallEnd.CANCELLED)
