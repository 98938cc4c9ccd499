"""Quarantine: jobs whose last worker died while it held them run again a few at a time, then one after the other.

A job that kills its worker takes down whatever runs beside it. What comes back from a dead worker is therefore noted with
the broker *before* it starts. The first time that is done for a small group together, because most workers die for other
reasons. If the worker dies again, suspects run one by one: the broker then knows which one ran, and the innocent ones get
through in turn. Once suspects have run for a while without harm, the next ones start beside them.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from time import monotonic

from longboat.contract.broker import Lease
from longboat.core.job import Outcome
from longboat.executors.contract import Call
from longboat.tasks.task import Settings
from longboat.worker import overruns
from longboat.worker.broker_link import BrokerLink
from longboat.worker.executor_set import ExecutorSet
from longboat.worker.in_flight import InFlight
from longboat.worker.service import Service
from longboat.worker.status import Status

STAGGER = 1.0
"""Seconds, times the number of the attempt, that suspects run before the next ones start beside them."""

GROUP = 32
"""Suspects of a single death that start together, at most."""


class Quarantine(Service):
    """Holds suspects. Its thread starts with the first one."""

    def __init__(self, status: Status, link: BrokerLink, in_flight: InFlight, executors: ExecutorSet) -> None:
        super().__init__("quarantine", status, in_flight.apart)
        self._link = link
        self._in_flight = in_flight
        self._executors = executors
        self._lock = threading.Lock()
        self._waiting: deque[Call] = deque()

    def add(self, calls: Sequence[Call]) -> None:
        with self._lock:
            self._waiting.extend(calls)
        self.start()
        self.wake.ring()

    def verdict(self, lease: Lease, settings: Settings) -> Outcome | None:
        """Not None for a suspect that is known to have done it."""
        return overruns.verdict(self._link.broker.kv, lease, settings)

    def withdraw(self, call: Call) -> bool:
        """Whether the call was waiting here; it waits no more."""
        with self._lock:
            try:
                self._waiting.remove(call)
            except ValueError:
                return False
            return True

    def empty(self) -> list[Call]:
        """Take out all that waits."""
        with self._lock:
            calls = list(self._waiting)
            self._waiting.clear()
        return calls

    def loop(self) -> None:
        while not self.stopping:
            with self._lock:
                group = self._next()
            if group:
                self._run_apart(group)
            else:
                self.wake.sleep(None, unless=lambda: self._waiting or self.stopping)

    def _run_apart(self, group: list[Call]) -> None:
        leases = [call.lease for call in group]
        # Until the broker knows how these ended, the death of the next ones could be blamed on them.
        suspects = self._in_flight.suspects = set(leases)
        self._link.settle((), leases)
        for call in group:
            call.noted = True
            self._executors.of(call).submit([call])
        until = monotonic() + STAGGER * max(lease.attempt for lease in leases)
        while suspects and not self.stopping and (rest := until - monotonic()) > 0:
            self.wake.sleep(rest, unless=lambda: not suspects or self.stopping)

    def _next(self) -> list[Call]:
        group = [self._waiting.popleft()] if self._waiting else []
        if group and group[0].lease.worker_deaths == 1:
            while self._waiting and self._waiting[0].lease.worker_deaths == 1 and len(group) < GROUP:
                group.append(self._waiting.popleft())
        return group
