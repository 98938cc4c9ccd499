"""ManagerConsumer: one worker's hold on the store behind the server."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Sequence

from longboat.brokers.manager import wire
from longboat.brokers.manager.calls import CallConnection, Calls
from longboat.brokers.manager.sessions import without
from longboat.contract.base import BaseConsumer
from longboat.contract.broker import Lease, Settlement
from longboat.core.clock import SYSTEM
from longboat.core.portions import fitting
from longboat.errors import BrokerError


class ManagerConsumer(BaseConsumer):
    """Made by `ManagerBroker.consumer`; see the contract. It goes on when its connections break."""

    def __init__(self, calls: Calls, id: str) -> None:
        super().__init__(id)
        self._calls = calls
        self._connection = CallConnection(calls)
        self._number = 0
        self._unsure = False
        """The answer to the last request was lost: it is asked for again."""
        self._spare: list[Lease] = []
        self._paused: Collection[str] = ()
        self._waiting = False

    def _receive(self, n: int, until: float) -> list[Lease]:
        try:
            return super()._receive(n, until)
        finally:
            self._waiting = False

    def _claim(self, n: int, until: float) -> list[Lease]:
        """The server waits, for a slice of the time, so that a server that is gone is noticed."""
        if self._spare:
            self._spare = without(self._paused, self._spare, self)
        if not self._spare:
            self._waiting = True
            left = 0.0 if self._woken else max(0.0, until - SYSTEM.monotonic())
            if self._ask(n, min(left, self._calls.slice)):
                self._cancelled += 1
        leases, self._spare = self._spare[:n], self._spare[n:]
        return leases

    def _wait(self, until: float) -> None:
        """The claim has waited."""

    def _ask(self, n: int, wait: float) -> bool:
        """One slice; what came is in `_spare`. Returns whether it ended before its time."""
        if not self._unsure:
            self._number += 1
        self._unsure = True
        answer = self._connection.call(wire.RECEIVE, self.id, self._number, n, wait)
        gone = answer.gone or not all(self._complete(each) for each in answer.leases if each.apart)
        self._unsure = False
        if gone:
            self._over = True
        else:
            self._spare = [each.lease() for each in answer.leases]
        return answer.early

    def _complete(self, leased: wire.Leased) -> bool:
        """Ask for the inputs that did not fit beside the lease, in as many messages as it takes; False: it is gone."""
        inputs: list[bytes] = []
        leased.inputs = inputs
        while len(inputs) < leased.apart:
            part = self._connection.call(wire.INPUTS, self.id, leased.number, len(inputs))
            if not part:
                return False
            inputs += part
        return True

    def settle(self, settlements: Sequence[Settlement], *, started: Sequence[Lease] = ()) -> list[Lease]:
        if not settlements and not started:
            return []
        said = [wire.settled(each) for each in settlements]
        leases = {each.lease.token: each.lease for each in settlements} | {lease.token: lease for lease in started}
        begun = [lease.token for lease in started]
        refused: list[int] = []
        while said or begun:
            count = fitting([len(each.outcome) for each in said], wire.ROOM)
            answer = self._calls.call(wire.SETTLE, self.id, said[:count], begun)
            refused += [*begun, *(each.number for each in said[:count])] if answer is None else answer
            said, begun = said[count:], []
        return [leases[number] for number in refused]

    def _beat(self) -> Sequence[str] | None:
        pulse = self._calls.call(wire.EXTEND, self.id)
        return pulse.cancelled if pulse.alive else None

    def pause(self, queues: Collection[str], tasks: Collection[str]) -> None:
        self._paused = frozenset(queues)
        self._calls.call(wire.PAUSE, self.id, list(queues), list(tasks))

    def _ring(self) -> None:
        if self._waiting and not self._closed:  # `_end` ends the waiting as well
            with contextlib.suppress(BrokerError):  # then the receive that waits ends within a second by itself
                self._calls.call(wire.WAKE, self.id)

    def close(self) -> None:
        lost = self._over
        try:
            super().close()
        except BrokerError:
            if not lost:  # else there is nothing to give back
                raise

    def _end(self) -> None:
        try:
            self._calls.call(wire.END, self.id)
        finally:
            with self._receiving:
                self._connection.close()
