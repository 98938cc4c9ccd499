"""PostgresConsumer: one worker's hold on the store."""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Collection, Sequence

from longboat.brokers.postgres import prune, settle, sweep
from longboat.brokers.postgres.claims import Claims
from longboat.brokers.postgres.line import ListenConnection
from longboat.brokers.postgres.look import Look, Looker
from longboat.brokers.postgres.names import name_of, raw
from longboat.brokers.postgres.store import Store
from longboat.brokers.postgres.transaction import Transaction
from longboat.brokers.postgres.wait import Bell, Watch
from longboat.contract.broker import Lease, Pulse, Settlement
from longboat.core.clock import SYSTEM
from longboat.errors import BrokerError

_LOOK_EVERY = 0.05
"""Seconds that a busy consumer claims without looking for what else there is."""


class PostgresConsumer:
    """Made by `PostgresBroker.consumer`; see the contract."""

    def __init__(self, store: Store, n: int, id: str, queues: Sequence[str], tasks: Sequence[str], lease: float) -> None:
        self.id = id
        self._store = store
        self._n = n
        self._lease = lease
        self._looker = Looker(n, [raw(name) for name in queues], [raw(name) for name in tasks])
        self._line = ListenConnection(store)
        self._bell = Bell()
        self._receiving = threading.Lock()
        self._claims = Claims(store, n, self._looker)
        self._renewed = -math.inf  # the first heartbeat is always written
        self._looked = -math.inf
        self._single = [raw(name) for name in queues] if len(queues) == 1 and store.clock is None else []
        self._paused: frozenset[bytes] = frozenset()
        self._told = 0
        self._woken = False
        self._marked = False
        """The server knows that this consumer waits, and has it notified."""
        self._marking = threading.Lock()
        """Held while the server is told so, or the contrary."""
        self._watch = Watch()
        self._over = False
        self._closed = False

    def receive(self, n: int, *, wait: float) -> list[Lease]:
        with self._receiving:
            try:
                with self._store.told_well():
                    return self._receive(n, SYSTEM.monotonic() + wait)
            except BaseException:
                self._line.drop()
                raise
            finally:
                self._woken = False

    def _receive(self, n: int, until: float) -> list[Lease]:
        while not self._over:
            if self._claims.made != self._claims.heard and not self._claims.recover(self._line.link()):
                self._over = True
            leases, look = self._try(n)
            left = until - SYSTEM.monotonic()
            if leases or self._must_return(look) or left <= 0:
                return leases
            if self._claims.is_passing or self._mark():
                continue  # there may be more; and what was put before the mark was seen told nobody
            self._bell.wait(self._line, min(left, max(0.0, look.next), self._watch.pause(self._looked)))
        if not self._closed:
            threading.Event().wait(min(0.05, max(0.0, until - SYSTEM.monotonic())))  # who has not noticed must not spin
        return []

    def settle(self, settlements: Sequence[Settlement], *, started: Sequence[Lease] = ()) -> list[Lease]:
        if not settlements and not started:
            return []
        return settle.settle(self._store, self._n, settlements, started)

    def extend(self) -> Pulse:
        if self._over:
            return Pulse(False)
        ids: list[str] = []
        look = self._store.use(self._claims.look)
        if look.alive and look.cancelled:
            rows = self._store.call(
                "SELECT j.id FROM @.leased AS l JOIN @.jobs AS j ON j.place = l.place "
                "WHERE l.consumer = %(consumer)s AND l.cancel ORDER BY l.token",
                consumer=self._n,
            )
            ids = [name_of(each) for (each,) in rows]
        self._told = look.cancelled
        due = SYSTEM.monotonic() - self._renewed >= self._lease / 3 or self._store.clock is not None
        if not look.alive or ((due or look.next <= 0) and not self._renew()):
            self._over = True
            return Pulse(False)
        with contextlib.suppress(BrokerError):  # the heartbeat was heard all the same; what is over can wait
            prune.housekeep(self._store)
        return Pulse(True, ids)

    def pause(self, queues: Collection[str], tasks: Collection[str]) -> None:
        self._paused = frozenset(map(raw, queues))
        self._looker.pause(self._paused, frozenset(map(raw, tasks)))
        self._bell.ring()

    def wake(self) -> None:
        self._woken = True
        self._bell.ring()

    def close(self) -> None:
        if self._closed:
            return
        self._closed = self._over = True
        self._bell.ring()
        with self._receiving:
            self._line.drop()
            self._bell.close()
        self._store.write(lambda tx: sweep.end_consumer(tx, self._n, None))

    def _must_return(self, look: Look) -> bool:
        if look.cancelled != self._told:
            self._told = look.cancelled
            return True
        return self._woken or self._over

    def _try(self, n: int) -> tuple[list[Lease], Look]:
        """Claim what a look shows; while there is more than is taken, look now and then only."""
        link = self._line.link()
        hurries = self._claims.is_busy and not self._paused and not self._claims.limited
        if hurries and self._single and SYSTEM.monotonic() - self._looked < _LOOK_EVERY:
            leases = self._claims.ready(link, self._single, n, False)
            if leases:
                return leases, Look(True, self._told, [], False, False, 0.0)
        look = self._claims.look(link)
        while look.alive and look.next <= 0:
            more = Store.again(link, lambda link: self._store.write_on(link, lambda tx: sweep.sweep(tx, self._n)))
            look = self._claims.look(link)
            if not more:
                break
        self._looked = SYSTEM.monotonic()
        if not look.alive:
            self._over = True
            return [], look
        if look.parked:
            return self._claims.parked(link, n), look
        return self._claims.ready(link, look.queues, n, look.limited), look

    def _mark(self) -> bool:
        """Have the server notify this consumer; whether it did not before."""
        with self._marking:
            if self._marked and not self._line.fresh:
                return False
            if not self._line.is_deaf:
                sql = "UPDATE @.consumers SET waiting = TRUE WHERE n = %(n)s AND NOT waiting"
                self._line.run(sql, n=self._n)
            self._marked, self._line.fresh = True, False
            self._watch.begin()
            return True

    def _renew(self) -> bool:
        """Put the deadline off and do what is due; False when this consumer is over."""
        asked = SYSTEM.monotonic()
        with self._marking:
            self._marked, waiting = False, self._marked and not self._claims.is_busy

            def renewing(tx: Transaction) -> bool:
                renewed = tx.run(
                    "UPDATE @.consumers SET deadline = %(deadline)s, waiting = %(waiting)s WHERE n = %(n)s",
                    deadline=tx.now + self._lease,
                    waiting=waiting,
                    n=self._n,
                )
                return bool(renewed.rowcount == 1)

            if not self._store.write(renewing):
                return False
            self._marked = waiting
        self._renewed = asked
        while self._store.write(lambda tx: sweep.sweep(tx, self._n)):
            pass
        return True
