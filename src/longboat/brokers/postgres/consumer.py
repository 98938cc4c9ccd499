"""PostgresConsumer: one worker's hold on the store."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Collection, Sequence

from longboat.brokers.postgres import settle, tidy
from longboat.brokers.postgres.claimer import Claimer
from longboat.brokers.postgres.connections import TimedConnection
from longboat.brokers.postgres.names import name_of, raw
from longboat.brokers.postgres.notifications import NotificationWaiter
from longboat.brokers.postgres.poll import CANCELLED, Poller
from longboat.brokers.postgres.store import NOW, Store
from longboat.contract.base import BaseConsumer
from longboat.contract.broker import Lease, Settlement
from longboat.core.clock import SYSTEM

_POLL_EVERY = 0.05
"""Seconds that a busy consumer claims without polling for what else there is."""

_BEAT = f"""
    SELECT EXISTS (SELECT 1 FROM @.consumers WHERE n = %(consumer)s), {CANCELLED},
        ARRAY(SELECT j.id FROM @.leased AS l JOIN @.jobs AS j ON j.place = l.place
            WHERE l.consumer = %(consumer)s AND l.cancel ORDER BY l.token)"""


class PostgresConsumer(BaseConsumer):
    """Made by `PostgresBroker.consumer`; see the contract."""

    def __init__(self, store: Store, n: int, id: str, queues: Sequence[str], tasks: Sequence[str], lease: float) -> None:
        super().__init__(id)
        self._store = store
        self._n = n
        self._lease = lease
        self._poller = Poller(n, [raw(name) for name in queues], [raw(name) for name in tasks])
        self._claimer = Claimer(store, n, self._poller)
        self._waiter = NotificationWaiter(store)
        self._renewed = -math.inf  # the first heartbeat is always written
        self._polled = self._waited = -math.inf
        self._next = 0.0
        """Seconds from the last poll until something is due."""
        self._single = [raw(name) for name in queues] if len(queues) == 1 and store.clock is None else []
        self._paused: frozenset[bytes] = frozenset()
        self._heard_on: TimedConnection | None = None
        """The connection whose notifications the claimer's floors know."""
        self._passes_over = False
        """The last look found nothing above the floors, and did not look below."""
        self._marked = False
        """The server knows that this consumer waits, and has it notified."""
        self._marking = threading.Lock()
        """Held while the server is told so, or the contrary."""

    def settle(self, settlements: Sequence[Settlement], *, started: Sequence[Lease] = ()) -> list[Lease]:
        if not settlements and not started:
            return []
        return settle.settle(self._store, self._n, settlements, started)

    def pause(self, queues: Collection[str], tasks: Collection[str]) -> None:
        self._paused = frozenset(map(raw, queues))
        self._poller.pause(self._paused, frozenset(map(raw, tasks)))
        self._ring()

    def _receive(self, n: int, until: float) -> list[Lease]:
        try:
            with self._store.pool.translating():
                return super()._receive(n, until)
        except BaseException:
            self._waiter.drop()
            raise

    def _claim(self, n: int, until: float) -> list[Lease]:
        """Claim what is above the floors; where there is nothing, or it is time for that, what is anywhere."""
        conn, floors = self._waiter.connection(), self._claimer.floors
        if not self._claimer.recover(conn):
            self._over = True
            return []
        began = SYSTEM.monotonic()
        floors.heard(self._waiter.heard())
        if conn is not self._heard_on:  # a new one has missed notifications
            self._heard_on = conn
            floors.clear()
        if floors and not floors.due(began):
            if leases := self._claim_above(conn, n):
                return leases
            self._passes_over = not self._over and not self._yields and floors.pause(began) > 0 and began < until
            if self._over or self._yields or self._passes_over:
                return []
        floors.whole, self._passes_over = True, False
        leases = self._claim_above(conn, n)
        floors.looked(began, SYSTEM.monotonic())
        return leases

    def _claim_above(self, conn: TimedConnection, n: int) -> list[Lease]:
        """Claim what a poll finds. While there is more than is taken, poll only now and then."""
        hurries = self._claimer.is_busy and not self._paused and not self._claimer.limited
        now = SYSTEM.monotonic()
        recent = now - self._polled < _POLL_EVERY < now - self._waited  # one that has just waited shares
        if hurries and recent and self._single and (leases := self._claimer.claim(conn, self._single, n, False)):
            return leases
        polled = self._claimer.poll(conn)
        more = True
        while polled.alive and polled.next <= 0 and more:
            more = Store.again(conn, lambda conn: self._store.write_on(conn, lambda tx: tidy.sweep(tx, self._n)))
            polled = self._claimer.poll(conn)
        self._polled, self._next, self._cancelled = SYSTEM.monotonic(), polled.next, polled.cancelled
        if not polled.alive:
            self._over = True
            return []
        if self._shares and polled.others and polled.queues:
            others, ready = self._claimer.shared(conn, polled.queues, n)
            if others and (n := self._part(n, ready, others)) == 0:
                self._claimer.floors.left(polled.queues)
                return []
        if polled.parked:
            return self._claimer.claim_parked(conn, n)
        return self._claimer.claim(conn, polled.queues, n, polled.limited)

    def _wait(self, until: float) -> None:
        if self._claimer.is_passing or self._mark():
            return  # there may be more; and what was put before the mark notified nobody
        now, floors = SYSTEM.monotonic(), self._claimer.floors
        soon = min(
            max(0.0, self._next), self._waiter.pause(self._polled), floors.pause(now) if self._passes_over else math.inf
        )
        floors.heard(self._waiter.wait(min(until - now, soon)))
        self._waited = SYSTEM.monotonic()

    def _mark(self) -> bool:
        """Have the server notify this consumer; whether it did not before."""
        with self._marking:
            if self._marked and not self._waiter.fresh:
                return False
            if not self._waiter.is_deaf:
                self._waiter.run("UPDATE @.consumers SET waiting = TRUE WHERE n = %(n)s AND NOT waiting", n=self._n)
            self._marked, self._waiter.fresh = True, False
            self._waiter.marked()
            return True

    def _beat(self) -> Sequence[str] | None:
        [(alive, cancelled, ids)] = self._store.call(_BEAT, consumer=self._n)
        due = SYSTEM.monotonic() - self._renewed >= self._lease / 3 or self._store.clock is not None
        if not alive or (due and not self._renew()):
            return None
        self._told = cancelled
        return [name_of(each) for each in ids]

    def _renew(self) -> bool:
        """Put the deadline off; False when this consumer is over."""
        asked = SYSTEM.monotonic()
        with self._marking:
            self._marked, waiting = False, self._marked and not self._claimer.is_busy
            renewed = self._store.write(
                lambda tx: (
                    tx.run(
                        "UPDATE @.consumers SET deadline = %(deadline)s, waiting = %(waiting)s WHERE n = %(n)s",
                        deadline=tx.now + self._lease,
                        waiting=waiting,
                        n=self._n,
                    ).rowcount
                )
            )
            if renewed == 1:
                self._marked, self._renewed = waiting, asked
            return bool(renewed == 1)

    def _ring(self) -> None:
        self._waiter.ring()

    def _end(self) -> None:
        with self._receiving:
            self._waiter.close()
        self._store.write(lambda tx: tidy.end_consumer(tx, self._n, None))


def registered(store: Store, queues: Sequence[str], tasks: Sequence[str], lease: float, name: str) -> PostgresConsumer:
    """A new consumer, which the store knows."""
    ((n, full),) = store.call(
        "WITH n AS MATERIALIZED (SELECT nextval(%(sequence)s) AS n) "
        "INSERT INTO @.consumers (n, id, name, queues, lease, deadline) OVERRIDING SYSTEM VALUE "
        f"SELECT n, n || '-' || %(secret)s, %(name)b, %(queues)b::bytea[], %(lease)s, {NOW} + %(lease)s FROM n "
        "RETURNING n, id",
        sequence=store.text("@.consumers_n_seq").decode(),
        secret=os.urandom(6).hex(),
        name=raw(name),
        queues=[raw(queue) for queue in queues],
        lease=float(lease),
    )
    return PostgresConsumer(store, n, full, queues, tasks, lease)
