"""SqliteConsumer: one worker's hold on the store."""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Collection, Sequence

from longboat.brokers.sqlite import prune, settle, sweep
from longboat.brokers.sqlite.claim import claim
from longboat.brokers.sqlite.look import Look, Looker, has_ready, repark, waiting_queues
from longboat.brokers.sqlite.store import Store, Transaction
from longboat.brokers.sqlite.wake import CONSUMER, LISTENER, Bell, Ringer, consumer_bell
from longboat.contract.broker import Lease, Pulse, Settlement
from longboat.core.clock import SYSTEM
from longboat.errors import BrokerError

_LOOK_ANYWAY = 0.5
"""Seconds between looks while nothing happens: what heals a wake-up that was missed."""


class SqliteConsumer:
    """Made by `SqliteBroker.consumer`; see the contract."""

    def __init__(
        self,
        store: Store,
        ringer: Ringer,
        wake: str,
        n: int,
        id: str,
        queues: Sequence[str],
        tasks: Sequence[str],
        lease: float,
    ) -> None:
        self.id = id
        self._store = store
        self._ringer = ringer
        self._n = n
        self._queues = queues
        self._tasks = tasks
        self._paused: frozenset[str] = frozenset()
        self._looker = Looker(n, queues, tasks)
        self._lease = lease
        self._renewed = -math.inf  # the first heartbeat is always written
        self._bell = Bell(wake, consumer_bell(id, queues))
        self._woken = False
        self._over = False
        self._closing = threading.Lock()
        self._closed = False
        self._busy = False
        self._last_queue = ""
        self._told = 0
        self._more: list[str] = []
        self._unfinished = False

    def receive(self, n: int, *, wait: float) -> list[Lease]:
        if self._over:
            self._bell.wait(min(wait, 0.05))  # a loop that has not noticed yet must not spin
            return []
        until = SYSTEM.monotonic() + wait
        leases: list[Lease] = []
        if self._busy or wait <= 0:
            leases, _ = self._try(n)
        if not leases and wait > 0:
            try:
                leases = self._wait(n, until)
            finally:
                self._bell.ring()
        self._woken = False
        for queue in self._more:  # who put these rang for some of them only
            self._ringer.ring_some(queue, 1)
        return leases

    def _wait(self, n: int, until: float) -> list[Lease]:
        self._bell.listen()
        leases, look = self._try(n)
        while not (leases or self._must_return(look)) and (left := until - SYSTEM.monotonic()) > 0:
            nap = 0.0 if self._unfinished else min(left, _LOOK_ANYWAY, look.next - self._store.clock.now())
            self._bell.wait(nap)
            self._bell.listen()
            leases, look = self._try(n)
        return leases

    def settle(self, settlements: Sequence[Settlement], *, started: Sequence[Lease] = ()) -> list[Lease]:
        if not settlements and not started:
            return []
        with self._store.write(durable=bool(settlements)) as tx:
            settled = settle.settle(tx, self._n, settlements, started)
        self._ring(settled.returned, settled.ended)
        return settled.refused

    def extend(self) -> Pulse:
        if self._over:
            return Pulse(False)
        with self._store.read() as db:
            look = self._looker.look(db)
            cancelled = self._looker.cancelled_ids(db) if look.cancelled else []
        if not look.alive:
            self._over = True
            return Pulse(False)
        self._told = look.cancelled
        due = self._store.clock.monotonic() - self._renewed >= self._lease / 3
        if (due or look.next <= self._store.clock.now()) and not self._renew():
            self._over = True
            return Pulse(False)
        with contextlib.suppress(BrokerError):  # the heartbeat was heard all the same; what is over can wait
            prune.housekeep(self._store, lambda: self._ringer.ring(CONSUMER))
        return Pulse(True, cancelled)

    def pause(self, queues: Collection[str], tasks: Collection[str]) -> None:
        self._paused = frozenset(queues)
        self._looker = Looker(
            self._n, self._queues, [task for task in self._tasks if task not in tasks], sorted(self._paused)
        )
        self._busy = False
        self._bell.ring()

    def wake(self) -> None:
        self._woken = True
        self._bell.ring()

    def close(self) -> None:
        with self._closing:
            if self._closed:
                return
            self._closed = self._over = True
        self._bell.close()
        with self._store.write() as tx:
            held = sweep.end_consumer(tx, self._n, None)
        self._ring(True, held > 0)  # it may have been rung for jobs that it leaves to others

    def _must_return(self, look: Look) -> bool:
        if look.cancelled != self._told:
            self._told = look.cancelled
            return True
        return self._woken or self._over

    def _try(self, n: int) -> tuple[list[Lease], Look]:
        """Claim, if a look tells that it is worth a transaction; it is not asked while there is more than is taken."""
        self._more = []
        self._unfinished = False
        if not self._busy:
            with self._store.read() as db:
                look = self._looker.look(db)
            if look.alive and not look.ready and look.next > self._store.clock.now():
                return [], look
        while True:
            with self._store.write(durable=False) as tx:
                leases, look, chores = self._claim(tx, n)
            if chores is not None:
                self._ring(chores.returned > len(leases), chores.ended > 0)
            self._busy = len(leases) >= n
            if leases or chores is None or not chores.more:
                return leases, look

    def _claim(self, tx: Transaction, n: int) -> tuple[list[Lease], Look, sweep.SweepNeeds | None]:
        look = self._looker.look(tx.db)
        if not look.alive:
            self._over = True
            return [], look, None
        chores = None
        if look.next <= tx.now:
            chores = sweep.sweep(tx, besides=self._n)
            look = self._looker.look(tx.db)
            if chores.more:  # what has expired is not all gone yet, and may not be received
                return [], look, chores
        parked = self._looker.unpark(tx, n) if look.parked else ()
        leases: list[Lease] = []
        if look.ready:
            for queue in self._queues or waiting_queues(tx.db, self._last_queue):
                if queue in self._paused:
                    continue
                found, more = claim(tx, self._n, queue, n - len(leases))
                self._unfinished = more
                if found:
                    leases += found
                    self._last_queue = queue
                if more or len(leases) >= n:
                    break
        repark(tx, parked)
        if len(leases) >= n > 0:
            self._more = [queue for queue in {lease.job.queue for lease in leases} if has_ready(tx.db, queue)]
        return leases, look, chores

    def _renew(self) -> bool:
        """Put the deadline off and do what is due; False when this consumer is over."""
        asked = self._store.clock.monotonic()
        with self._store.write(durable=False) as tx:
            renewed = tx.run("UPDATE consumers SET deadline = ? WHERE n = ?", (tx.now + self._lease, self._n))
            if renewed.rowcount != 1:
                return False
            chores = sweep.sweep(tx, besides=self._n)
        self._renewed = asked
        self._ring(chores.returned > 0, chores.ended > 0)
        return True

    def _ring(self, consumers: bool, listeners: bool) -> None:
        if consumers:
            self._ringer.ring(CONSUMER)
        if listeners:
            self._ringer.ring(LISTENER)
