"""Settler: gathers outcomes and settles them in batches: from a thread of its own, or in turn with the fetcher."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence

from longboat.contract.broker import Consumer, Lease, Settlement
from longboat.errors import BrokerError
from longboat.worker.link import BrokerLink

LOADED = 64
"""Outcomes in one batch that tell a loaded worker, for which waiting a little saves commits."""
LINGER = 0.01
"""Seconds that a loaded settler gathers."""
BATCH = 2000


class Settler:
    """`add` may be called from any thread and never blocks. What is not settled is kept until it is, or until `close`."""

    def __init__(
        self,
        link: BrokerLink,
        suspect_settled: Callable[[Lease], None],
        record: Callable[[Sequence[Settlement]], None] = lambda _: None,
    ) -> None:
        self._link = link
        self._record = record
        self._suspect_settled = suspect_settled
        self._outcomes: deque[Settlement] = deque()
        self._wake = threading.Event()
        self._idle = False
        self._settling = 0
        self._turn = threading.Lock()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="longboat-settler", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def add(self, settlement: Settlement) -> None:
        self._outcomes.append(settlement)
        if self._idle:
            self._wake.set()

    def pending(self) -> int:
        """Outcomes that the broker does not have yet."""
        return len(self._outcomes) + self._settling

    def settle_in_turn(self) -> None:
        """Settle now if there is much; the fetcher's. What the broker does not take is left to the settler's thread.

        Two threads that both work on the store of a fast queue only wait for each other, and for the interpreter.
        """
        if len(self._outcomes) < LOADED:
            return
        with self._turn:
            batch = self._take()
            try:
                self._link.consumer().settle(batch)
            except BrokerError:
                self._outcomes.extendleft(reversed(batch))
                self._settling = 0
                self._wake.set()
            else:
                self._settled(batch)

    def started(self, leases: Sequence[Lease]) -> None:
        """Note that these have started; blocks until the broker knows."""
        self._settle((), leases)

    def close(self) -> None:
        """Settle what there is, and end."""
        self._closing = True
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        loaded = False
        while True:
            if loaded and not self._closing:
                self._link.closing.wait(LINGER)
            with self._turn:
                batch = self._take()
                if batch:
                    self._settle(batch)
                    self._settled(batch)
            loaded = len(batch) >= LOADED
            if batch:
                continue
            self._idle = True
            if not self._outcomes:  # looked at again after `_idle` was set, so that no wake-up is missed
                if self._closing:
                    return
                self._wake.wait()
            self._idle = False
            self._wake.clear()

    def _settle(self, batch: Sequence[Settlement], started: Sequence[Lease] = ()) -> None:
        """Settling again is harmless, so a call whose answer was lost is simply made again."""

        def settle(consumer: Consumer) -> bool:
            consumer.settle(batch, started=started)
            return True

        self._link.attempt(settle, otherwise=False)

    def _settled(self, batch: Sequence[Settlement]) -> None:
        self._settling = 0
        self._record(batch)
        for settlement in batch:
            if settlement.lease.worker_deaths:
                self._suspect_settled(settlement.lease)

    def _take(self) -> list[Settlement]:
        outcomes = self._outcomes
        self._settling = min(len(outcomes), BATCH)  # before it is taken out, so that `pending` never misses it
        return [outcomes.popleft() for _ in range(self._settling)]
