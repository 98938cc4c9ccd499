"""Sessions: what the server keeps for each client's consumer and listener. A session outlives its client's connections."""

from __future__ import annotations

import itertools
import secrets
import threading
from collections.abc import Collection, Sequence

from longboat.brokers.manager import wire
from longboat.brokers.manager.wire import Leased, Received, Settled, outcome
from longboat.contract.broker import Consumer, Lease, Settlement
from longboat.contract.results import Listener
from longboat.core.clock import SYSTEM
from longboat.core.job import Release, Result
from longboat.core.portions import fitting

SILENT = 60.0
"""Seconds, and at least twice the lease, after which an unused session is forgotten. Its jobs have come back by then."""
_EARLY = 0.002
"""Seconds: a receive that returns nothing so long before its time was woken."""
_INPUT = 5
"""Bytes of a message beside each input, at most."""
_numbers = itertools.count(secrets.randbits(40) << 20)
"""Of leases: random at first, so that no lease of an earlier server has a number that is used here."""


class ConsumerSession:
    """A client's consumer. Requests for jobs are numbered, so that a repeated request is given the same answer."""

    def __init__(self, consumer: Consumer, lease: float) -> None:
        self.patience = max(SILENT, 2 * lease)
        self.used = SYSTEM.monotonic()
        self._consumer = consumer
        self._receiving = threading.Lock()
        self._held: dict[int, Lease] = {}
        self._spare: list[Lease] = []
        self._paused: Collection[str] = ()
        self._asked = 0
        self._answer = Received([])
        self.extend = consumer.extend
        self.wake = consumer.wake

    def receive(self, number: int, n: int, wait: float) -> Received:
        with self._receiving:
            if number > self._asked:  # else it is repeated, or comes late from a connection that was given up
                self._answer = self._receive(n, wait)
                self._asked = number
            return self._answer

    def _receive(self, n: int, wait: float) -> Received:
        began = SYSTEM.monotonic()
        leases = self._spare and without(self._paused, self._spare, self._consumer)
        leases = leases or self._consumer.receive(n, wait=wait)
        count = min(
            n, fitting([len(each.job.payload) + (_size(each.inputs) if each.inputs else 0) for each in leases], wire.ROOM)
        )
        leases, self._spare = leases[:count], leases[count:]
        if not leases:
            return Received([], early=SYSTEM.monotonic() - began < wait - _EARLY)
        given = [Leased(next(_numbers), each.job, each.attempt, each.worker_deaths, each.failures) for each in leases]
        for leased, lease in zip(given, leases, strict=True):
            self._held[leased.number] = lease
            if not lease.inputs:
                continue
            if _size(lease.inputs) > wire.ROOM:
                leased.apart = len(lease.inputs)
            else:
                leased.inputs = list(lease.inputs)
        return Received(given)

    def inputs(self, number: int, start: int) -> list[bytes] | None:
        """Inputs of a lease, from this one on, as many as fit in a message; None: the lease is not held here."""
        if (lease := self._held.get(number)) is None:
            return None
        rest = lease.inputs[start:]
        return list(rest[: fitting([_INPUT + len(each) for each in rest], wire.ROOM)])

    def pause(self, queues: Collection[str], tasks: Collection[str]) -> None:
        self._consumer.pause(queues, tasks)
        self._paused = queues

    def settle(self, settlements: Sequence[Settled], started: Sequence[int]) -> list[int]:
        held = self._held
        numbers = {held[number]: number for number in (*started, *(each.number for each in settlements)) if number in held}
        batch = [Settlement(held[each.number], outcome(each)) for each in settlements if each.number in held]
        begun = [held[number] for number in started if number in held]
        refused = [number for number in started if number not in held]
        refused += [each.number for each in settlements if each.number not in held]
        refused += [numbers[lease] for lease in (self._consumer.settle(batch, started=begun) if batch or begun else ())]
        for each in settlements:
            held.pop(each.number, None)
        return refused

    def close(self) -> None:
        self._consumer.close()
        self._held.clear()


def without(paused: Collection[str], leases: list[Lease], consumer: Consumer) -> list[Lease]:
    """Of leases claimed but not given yet: those whose queues were not paused since. The others are handed back."""
    back = [lease for lease in leases if lease.job.queue in paused]
    if back:
        consumer.settle([Settlement(lease, Release()) for lease in back])
    return [lease for lease in leases if lease.job.queue not in paused]


def _size(inputs: Sequence[bytes]) -> int:
    """Bytes of a message that they need, at most."""
    return sum(map(len, inputs)) + _INPUT * len(inputs)


class ListenerSession:
    """A client's listener."""

    def __init__(self, listener: Listener) -> None:
        self.patience = SILENT
        self.used = SYSTEM.monotonic()
        self._listener = listener
        self._waiting = threading.Lock()
        self._spare: list[Result] = []
        self.watch = listener.watch
        self.forget = listener.forget
        self.wake = listener.wake
        self.close = listener.close

    def wait(self, seconds: float) -> list[Result]:
        with self._waiting:
            results = self._spare or self._listener.wait(seconds)
            count = fitting([len(result.value or b"") for result in results], wire.ROOM)
            results, self._spare = results[:count], results[count:]
            return results


Session = ConsumerSession | ListenerSession
