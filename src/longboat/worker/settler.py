"""Settler: gathers outcomes and settles them in batches, from a thread of its own."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence

from longboat.broker import Consumer, Lease, Settlement
from longboat.worker.link import Link

LOADED = 64
"""Outcomes in one batch that tell a loaded worker, for which waiting a little saves commits."""
LINGER = 0.004
"""Seconds that a loaded settler gathers."""
BATCH = 2000


class Settler:
    """`add` may be called from any thread and never blocks. What is not settled is kept until it is, or until `close`."""

    def __init__(self, link: Link, suspect_settled: Callable[[Lease], None]) -> None:
        self._link = link
        self._suspect_settled = suspect_settled
        self._outcomes: deque[Settlement] = deque()
        self._wake = threading.Event()
        self._idle = False
        self._settling = 0
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
            batch = self._take()
            if batch:
                self._settle(batch)
                self._settling = 0
                for settlement in batch:
                    if settlement.lease.returns:
                        self._suspect_settled(settlement.lease)
                loaded = len(batch) >= LOADED
                continue
            loaded = False
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

    def _take(self) -> list[Settlement]:
        outcomes = self._outcomes
        self._settling = min(len(outcomes), BATCH)  # before it is taken out, so that `pending` never misses it
        return [outcomes.popleft() for _ in range(self._settling)]
