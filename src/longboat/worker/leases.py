"""Leases: the heartbeat for all that this worker holds, and the watch over what runs: starts noted, time limits kept.

Its thread does nothing else, so that no busy task can starve the heartbeat for long: a lease of 15 s outlives what
was measured (16 CPU-bound threads held an event loop up for 0.9 s).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic

from longboat.contract.broker import Consumer, Pulse
from longboat.errors import BrokerError
from longboat.executors.contract import Call, CallEnd
from longboat.observe.events import Bus, JobsLost
from longboat.worker.link import BrokerLink
from longboat.worker.runner import Runner

BEAT = 1.0
"""Seconds between heartbeats; brokers write only when a lease needs it."""
TICK = 0.05
NOTE_AFTER = 0.025
"""Seconds after which a running call is noted as started. Shorter jobs are settled before, and cost nothing."""
KILL_AFTER = 5.0
"""Seconds from asking a call to stop until it is killed."""


class Leases:
    """`nudge` and `beat_soon` may be called from any thread."""

    def __init__(self, link: BrokerLink, runner: Runner, bus: Bus, name: str, beaten: Callable[[], None]) -> None:
        self._link = link
        self._runner = runner
        self._bus = bus
        self._name = name
        self._beaten = beaten
        self._wake = threading.Event()
        self._idle = False
        self._closing = False
        self._beat_at = 0.0
        self._doomed: list[Call] = []
        """Calls whose lease is lost: stopped already, killed when their time comes."""
        self._thread = threading.Thread(target=self._run, name="longboat-leases", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def nudge(self) -> None:
        """There are calls to watch."""
        if self._idle:
            self._wake.set()

    def beat_soon(self) -> None:
        """A cancellation may have been asked for."""
        self._beat_at = 0.0
        self._wake.set()

    def close(self) -> None:
        self._closing = True
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._closing:
            calls = list(self._runner.calls)
            now = monotonic()
            if calls or self._doomed:
                self._keep_time(calls, now)
                self._entry(calls, now)
            if now >= self._beat_at:
                self._beat_at = now + BEAT
                self._beaten()
                self._beat()
            self._idle = not (self._runner.calls or self._doomed)
            self._wake.wait(max(0.0, self._beat_at - monotonic()) if self._idle else TICK)
            self._wake.clear()

    def _keep_time(self, calls: list[Call], now: float) -> None:
        for call in calls:
            if call.deadline == 0.0:
                timeout = call.task.settings.timeout
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

    def _entry(self, calls: list[Call], now: float) -> None:
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
        self._heed(consumer, pulse)

    def _heed(self, consumer: Consumer, pulse: Pulse) -> None:
        now = monotonic()
        if not pulse.alive:
            lost = self._runner.let_go()
            for call in lost:
                call.deadline = now + KILL_AFTER
            self._doomed += lost
            self._link.lost(consumer)
            self._bus.emit(JobsLost(self._name, len(lost)))
            return
        if pulse.cancelled:
            wanted = set(pulse.cancelled)
            for call in list(self._runner.calls):
                if call.lease.job.id in wanted and call.stopping is None:
                    call.deadline = now + KILL_AFTER
                    self._runner.stop(call, CallEnd.CANCELLED)
