"""ManagerConsumer: one worker's hold on the store behind the server."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Collection, Sequence

from longboat.brokers.manager import wire
from longboat.brokers.manager.calls import CallConnection, Calls
from longboat.brokers.manager.counter import without
from longboat.contract.broker import Lease, Pulse, Settlement
from longboat.core.clock import SYSTEM
from longboat.errors import BrokerError

SLICE = 1.0
"""Seconds of waiting in one call, at most."""


class ManagerConsumer:
    """Made by `ManagerBroker.consumer`; see the contract. It goes on when its connections break."""

    def __init__(self, calls: Calls, id: str) -> None:
        self.id = id
        self._calls = calls
        self._line = CallConnection(calls)
        self._receiving = threading.Lock()
        self._slice = min(SLICE, calls.timeout / 2)
        self._number = 0
        self._unsure = False
        """The answer to the last request was lost: it is asked for again."""
        self._spare: list[Lease] = []
        self._paused: Collection[str] = ()
        self._waiting = False
        self._woken = False
        self._over = False
        self._closed = False

    def receive(self, n: int, *, wait: float) -> list[Lease]:
        with self._receiving:
            try:
                return self._receive(n, SYSTEM.monotonic() + wait)
            finally:
                self._waiting = self._woken = False

    def _receive(self, n: int, until: float) -> list[Lease]:
        while not self._over:
            if self._spare:
                self._spare = without(self._paused, self._spare, self)
            left = 0.0 if self._woken or self._spare else max(0.0, until - SYSTEM.monotonic())
            self._waiting = True
            early = self._ask(n, 0.0 if self._woken else min(left, self._slice)) if not self._spare else False
            leases, self._spare = self._spare[:n], self._spare[n:]
            if leases or early or self._woken or left <= self._slice:
                return leases
        if not self._closed:
            threading.Event().wait(
                min(0.05, max(0.0, until - SYSTEM.monotonic()))
            )  # a loop that has not noticed must not spin
        return []

    def _ask(self, n: int, wait: float) -> bool:
        """One slice; what came is in `_spare`. Whether it ended before its time."""
        if not self._unsure:
            self._number += 1
        self._unsure = True
        answer = self._line.call(wire.RECEIVE, self.id, self._number, n, wait)
        if not answer.gone:
            answer.gone = not all(self._complete(each) for each in answer.leases if each.apart)
        self._unsure = False
        if answer.gone:
            self._over = True
            return answer.early
        self._spare = [each.lease() for each in answer.leases]
        return answer.early

    def _complete(self, leased: wire.Leased) -> bool:
        """Ask for the inputs that did not fit beside the lease, in as many messages as it takes; False: it is gone."""
        inputs: list[bytes] = []
        leased.inputs = inputs
        while len(inputs) < leased.apart:
            part = self._line.call(wire.INPUTS, self.id, leased.number, len(inputs))
            if not part:
                return False
            inputs += part
        return True

    def settle(self, settlements: Sequence[Settlement], *, started: Sequence[Lease] = ()) -> list[Lease]:
        if not settlements and not started:
            return []
        said = [wire.settled(each) for each in settlements]
        leases = {each.lease.token: each.lease for each in settlements} | {lease.token: lease for lease in started}
        noted = [lease.token for lease in started]
        refused: list[int] = []
        while said or noted:
            count = wire.fitting([len(each.value) for each in said])
            answer: list[int] = self._calls.call(wire.SETTLE, self.id, said[:count], noted)
            refused += answer
            said, noted = said[count:], []
        return [leases[number] for number in refused]

    def extend(self) -> Pulse:
        if self._over:
            return Pulse(False)
        pulse = self._calls.call(wire.EXTEND, self.id)
        self._over = self._over or not pulse.alive
        return pulse

    def pause(self, queues: Collection[str], tasks: Collection[str]) -> None:
        self._paused = frozenset(queues)
        self._calls.call(wire.PAUSE, self.id, list(queues), list(tasks))

    def wake(self) -> None:
        if self._woken:
            return
        self._woken = True
        if self._waiting:
            with contextlib.suppress(BrokerError):  # then the receive that waits ends within a second by itself
                self._calls.call(wire.WAKE, self.id)

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._woken = True
        lost, self._over = self._over, True
        try:
            self._calls.call(wire.UNREGISTER, self.id)
        except BrokerError:
            if not lost:
                raise
        finally:
            with self._receiving:
                self._line.close()
