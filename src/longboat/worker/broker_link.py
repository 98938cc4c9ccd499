"""BrokerLink: a worker's connection to its broker. It makes consumers, and outlives outages and the loss of its leases."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from typing import TypeVar

from longboat.contract.broker import Broker, Consumer, Lease, Settlement
from longboat.core.clock import SYSTEM
from longboat.errors import BrokerError
from longboat.observe.events import BrokerDown, BrokerUp, Bus
from longboat.worker.apart import settle_apart
from longboat.worker.options import WorkerOptions

T = TypeVar("T")

PAUSES = (0.05, 0.1, 0.2, 0.5, 1.0)
"""Seconds between tries while the broker fails. The last one repeats, so that its return is noticed within 1 s."""


class BrokerLink:
    """The present consumer. `attempt` and `settle` wait for a broker that fails; the other calls raise BrokerError."""

    def __init__(self, broker: Broker, options: WorkerOptions, tasks: Collection[str], name: str, bus: Bus) -> None:
        self.broker = broker
        self.options = options
        self.tasks = tasks
        """Names of those that this worker knows."""
        self._name = name
        self._bus = bus
        self._lock = threading.Lock()
        self._consumer: Consumer | None = None
        self._paused: tuple[frozenset[str], frozenset[str]] = (frozenset(), frozenset())
        self._down_since: float | None = None
        self.closing = threading.Event()
        """Set: calls that fail are not tried again."""
        self.on_consumer: Callable[[str], None] | None = None
        """Told the id of each new consumer: the supervisor evicts it should this process die."""

    def consumer(self) -> Consumer:
        """The present consumer, made if there is none."""
        with self._lock:
            if self._consumer is None:
                self._consumer = self.broker.consumer(
                    self.options.queues, lease=self.options.lease, tasks=self.tasks, name=self._name
                )
                if any(self._paused):
                    self._consumer.pause(*self._paused)
                if self.on_consumer is not None:
                    self.on_consumer(self._consumer.id)
            return self._consumer

    def lost(self, consumer: Consumer) -> None:
        """This consumer's leases are lost: the next call makes another."""
        with self._lock:
            if self._consumer is consumer:
                self._consumer = None
        self._close(consumer)

    def attempt(self, call: Callable[[Consumer], T], *, otherwise: T) -> T:
        """Make a call on the consumer, again and again while the broker fails; `otherwise` once `closing` is set.

        An answer of None says that the call did not ask the broker.
        """
        for tries in range(1 << 62):
            try:
                answer = call(self.consumer())
            except BrokerError as error:
                self._tell_down(error)
                if self.closing.wait(PAUSES[min(tries, len(PAUSES) - 1)]):
                    return otherwise
            else:
                if answer is not None and self._down_since is not None:
                    self._tell_up()
                return answer
        return otherwise

    def settle(self, batch: Sequence[Settlement], started: Sequence[Lease] = ()) -> bool:
        """Settle, however long the broker fails; False once `closing` is set. Settling again is harmless, so a call whose
        answer was lost is simply made again. What the broker refuses is dead."""

        def settling(consumer: Consumer) -> bool:
            settle_apart(consumer, batch, started)
            return True

        return self.attempt(settling, otherwise=False)

    def pause(self, queues: frozenset[str], tasks: frozenset[str]) -> None:
        """Receive no jobs of these queues, nor parked ones of these tasks, until the next call."""
        if (queues, tasks) != self._paused:
            self.consumer().pause(queues, tasks)
            self._paused = queues, tasks

    @property
    def up(self) -> bool:
        """Whether the broker answered last."""
        return self._down_since is None

    def wake(self) -> None:
        """End a receive that waits."""
        with self._lock:
            if self._consumer is not None:
                self._consumer.wake()

    def close(self) -> None:
        """Hand back what is still held. If the broker fails now, the leases come back when their time is over."""
        with self._lock:
            consumer, self._consumer = self._consumer, None
        if consumer is not None:
            self._close(consumer)

    def _close(self, consumer: Consumer) -> None:
        try:
            consumer.close()
        except BrokerError as error:
            self._tell_down(error)

    def _tell_down(self, error: BrokerError) -> None:
        with self._lock:
            first, self._down_since = self._down_since is None, self._down_since or SYSTEM.monotonic()
        if first:
            self._bus.emit(BrokerDown(self._name, str(error)))

    def _tell_up(self) -> None:
        with self._lock:
            since, self._down_since = self._down_since, None
        if since is not None:
            self._bus.emit(BrokerUp(self._name, SYSTEM.monotonic() - since))
