"""SqliteConsumer: one worker's hold on the store."""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Sequence

from longboat.brokers.sqlite import settle, sweep
from longboat.brokers.sqlite.claim import claim
from longboat.brokers.sqlite.look import Look, Looker, has_ready, ready_count, ready_queues, repark
from longboat.brokers.sqlite.packing import as_json
from longboat.brokers.sqlite.store import Store, Transaction
from longboat.brokers.sqlite.wake import LOOK_ANYWAY, Bell, Ringer, consumer_bell
from longboat.contract.base import BaseConsumer
from longboat.contract.broker import Lease, Settlement
from longboat.core.clock import SYSTEM


def id_of(n: int, secret: str) -> str:
    return f"{n}-{secret}"


def number_of(id: str) -> int:
    """Its row in `consumers`."""
    return int(id.partition("-")[0])


class SqliteConsumer(BaseConsumer):
    """Made by `SqliteBroker.consumer`; see the contract."""

    def __init__(
        self, store: Store, ringer: Ringer, id: str, queues: Sequence[str], tasks: Sequence[str], lease: float
    ) -> None:
        super().__init__(id)
        self._store = store
        self._ringer = ringer
        self._n = number_of(id)
        self._queues = queues
        self._tasks = tasks
        self._paused: frozenset[str] = frozenset()
        self._looker = Looker(self._n, queues, tasks)
        self._lease = lease
        self._renewed = -math.inf  # the first heartbeat is always written
        self._bell = Bell(ringer.directory, consumer_bell(id, queues))
        self._listening = False
        """Rings are meant for this consumer: it is about to wait."""
        self._busy = False
        """The last claim took all that was asked for: there may be more, so the next one does not look first."""
        self._last_queue = ""
        self._next = 0.0
        """Wall-clock time at which there may be something to claim."""
        self._more: list[str] = []
        """Queues that have more than was taken."""

    def _receive(self, n: int, until: float) -> list[Lease]:
        try:
            leases = super()._receive(n, until)
        finally:
            if self._listening:
                self._bell.rest()
                self._listening = False
        for queue in self._more:  # the put of these jobs rang for some of them only
            self._ringer.ring_some(queue, 1)
        return leases

    def _claim(self, n: int, until: float) -> list[Lease]:  # noqa: ARG002  # a claim here waits for nobody
        """Claim, if a look tells that it is worth a transaction."""
        self._more = []
        if not self._busy:
            self._listening = True
            self._bell.listen()
            with self._store.read() as db:
                look = self._looker.look(db)
            if look.alive and not look.ready and look.next > self._store.clock.now():
                self._cancelled, self._next = look.cancelled, look.next
                return []
        while True:
            with self._store.write(durable=False) as tx:
                leases, look, swept = self._take(tx, n)
            if swept is not None:
                self._ringer.tell(consumers=swept.returned > len(leases), listeners=swept.ended > 0)
            self._cancelled = look.cancelled
            self._busy = len(leases) >= n
            if leases or swept is None or not swept.more:
                return leases

    def _take(self, tx: Transaction, n: int) -> tuple[list[Lease], Look, sweep.Swept | None]:
        look = self._looker.look(tx.db)
        self._next = look.next
        if not look.alive:
            self._over = True
            return [], look, None
        swept = None
        if look.next <= tx.now:
            swept = sweep.sweep(tx, besides=self._n)
            look = self._looker.look(tx.db)
            self._next = look.next
            if swept.more:  # what has expired is not all gone yet, and may not be received
                return [], look, swept
        n = self._shared(tx, n)
        parked = self._looker.unpark(tx, n) if look.parked else ()
        leases: list[Lease] = []
        for queue in (self._queues or ready_queues(tx.db, self._last_queue)) if look.ready else ():
            if queue in self._paused:
                continue
            found, more = claim(tx, self._n, queue, n - len(leases))
            if found:
                leases += found
                self._last_queue = queue
            if more:
                self._next = 0.0
            if more or len(leases) >= n:
                break
        repark(tx, parked)
        if len(leases) >= n > 0:
            self._more = [queue for queue in {lease.job.queue for lease in leases} if has_ready(tx.db, queue)]
        return leases, look, swept

    def _shared(self, tx: Transaction, n: int) -> int:
        """`n`, or its part of that if others wait too."""
        others = self._ringer.waiting(self._queues, self._bell.name) if self._shares else 0
        return self._part(n, ready_count(tx.db, self._queues), others) if others else n

    def _wait(self, until: float) -> None:
        self._bell.wait(min(until - SYSTEM.monotonic(), LOOK_ANYWAY, self._next - self._store.clock.now()))

    def settle(self, settlements: Sequence[Settlement], *, started: Sequence[Lease] = ()) -> list[Lease]:
        if not settlements and not started:
            return []
        with self._store.write(durable=bool(settlements)) as tx:
            settled = settle.settle(tx, self._n, settlements, started)
        self._ringer.tell(consumers=settled.returned, listeners=settled.ended)
        return settled.refused

    def _beat(self) -> Sequence[str] | None:
        with self._store.read() as db:
            alive, cancelled = self._looker.beat(db)
            ids = self._looker.cancelled_ids(db) if cancelled else []
        now = self._store.clock.monotonic()
        if not alive or (now - self._renewed >= self._lease / 3 and not self._renew(now)):
            return None
        self._told = cancelled
        return ids

    def _renew(self, now: float) -> bool:
        with self._store.write(durable=False) as tx:
            renewed = tx.run("UPDATE longboat_consumers SET deadline = ? WHERE n = ?", (tx.now + self._lease, self._n))
        self._renewed = now
        return renewed.rowcount == 1

    def pause(self, queues: Collection[str], tasks: Collection[str]) -> None:
        self._paused = frozenset(queues)
        self._looker = Looker(
            self._n, self._queues, [task for task in self._tasks if task not in tasks], sorted(self._paused)
        )
        self._busy = False
        self._bell.ring()

    def _ring(self) -> None:
        self._bell.ring()

    def _end(self) -> None:
        self._bell.close()
        with self._store.write() as tx:
            held = sweep.end_consumer(tx, self._n, None)
        self._ringer.tell(consumers=True, listeners=held > 0)  # it may have been rung for jobs that it leaves to others


def registered(
    store: Store, ringer: Ringer, queues: Sequence[str], tasks: Sequence[str], lease: float, name: str
) -> SqliteConsumer:
    """A new consumer, which the store knows."""
    secret = os.urandom(6).hex()
    with store.write() as tx:
        n = tx.run(
            "INSERT INTO longboat_consumers (id, name, queues, lease, deadline) VALUES (?, ?, ?, ?, ?) RETURNING n",
            (secret, name, as_json(queues), lease, tx.now + lease),
        ).fetchone()[0]
        consumer_id = id_of(n, secret)
        tx.run("UPDATE longboat_consumers SET id = ? WHERE n = ?", (consumer_id, n))
    return SqliteConsumer(store, ringer, consumer_id, queues, tasks, lease)
