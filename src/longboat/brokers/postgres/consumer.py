"""PostgresConsumer: one worker's hold on the store."""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Collection, Sequence

import psycopg

from longboat.broker import Lease, Pulse, Settlement
from longboat.brokers.postgres import prune, settle, sweep
from longboat.brokers.postgres.claim import Claimed, bury, claim
from longboat.brokers.postgres.gated import AT_ONCE, Claim, claim_round
from longboat.brokers.postgres.line import Line
from longboat.brokers.postgres.link import Link
from longboat.brokers.postgres.look import Look, Looker
from longboat.brokers.postgres.names import name_of, raw
from longboat.brokers.postgres.store import Store
from longboat.brokers.postgres.transaction import Connection, Transaction
from longboat.brokers.postgres.wait import Bell, Watch
from longboat.clock import SYSTEM
from longboat.errors import BrokerError

_LOOK_EVERY = 0.05
"""Seconds that a busy consumer claims without looking for what else there is."""
_ROUNDS = 10
"""Transactions in which one claim goes on past jobs that their limits shut out, at most."""


class PostgresConsumer:
    """Made by `PostgresBroker.consumer`; see the contract."""

    def __init__(self, store: Store, n: int, id: str, queues: Sequence[str], tasks: Sequence[str], lease: float) -> None:
        self.id = id
        self._store = store
        self._n = n
        self._lease = lease
        self._looker = Looker(n, [raw(name) for name in queues], [raw(name) for name in tasks])
        self._line = Line(store)
        self._bell = Bell()
        self._receiving = threading.Lock()
        self._claims = self._heard = 0
        """The last claim that was made, and the last one whose answer came: between them the server may have leased
        jobs that nobody here knows of."""
        self._renewed = -math.inf  # the first heartbeat is always written
        self._looked = -math.inf
        self._single = [raw(name) for name in queues] if len(queues) == 1 and store.clock is None else []
        self._busy = False
        """The last claim did not empty the queue."""
        self._passing = False
        """The last claim came to its end among jobs that their limits shut out."""
        self._limited: set[bytes] = set()
        """Queues where some of the jobs that were claimed last had limits."""
        self._paused: frozenset[bytes] = frozenset()
        self._last_queue = b""
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
            if self._claims != self._heard:
                self._recover()
            leases, look = self._try(n)
            left = until - SYSTEM.monotonic()
            if leases or self._must_return(look) or left <= 0:
                return leases
            if self._passing or self._mark():
                continue  # what was put before the mark was seen told nobody
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
        look = self._store.use(lambda link: self._look(link))
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

    def _look(self, link: Connection) -> Look:
        return self._looker.look(lambda sql, **values: self._store.run(link, sql, values), self._last_queue)

    def _must_return(self, look: Look) -> bool:
        if look.cancelled != self._told:
            self._told = look.cancelled
            return True
        return self._woken or self._over

    def _try(self, n: int) -> tuple[list[Lease], Look]:
        """Claim what a look shows; while there is more than is taken, look now and then only."""
        link = self._line.link()
        hurries = self._busy and not self._paused and not self._limited
        if hurries and self._single and SYSTEM.monotonic() - self._looked < _LOOK_EVERY:
            leases = self._claim(link, self._single, n, False)
            if leases:
                return leases, Look(True, self._told, [], False, False, 0.0)
        look = self._look(link)
        while look.alive and look.next <= 0:
            more = Store.again(link, lambda link: self._store.write_on(link, lambda tx: sweep.sweep(tx, self._n)))
            look = self._look(link)
            if not more:
                break
        self._looked = SYSTEM.monotonic()
        if not look.alive:
            self._over = True
            return [], look
        if look.parked:
            return self._claim_parked(link, n), look
        return self._claim(link, look.queues, n, look.gated), look

    def _claim(self, link: Link, queues: Sequence[bytes], n: int, gated: bool) -> list[Lease]:
        """`gated`: some ready jobs have limits."""
        claimed = Claimed([], [])
        self._busy = self._passing = False
        try:
            for queue in queues:
                wanted = n - len(claimed.leases)
                if not gated or queue not in self._limited:
                    found = Store.again(link, lambda link, queue=queue, n=wanted: self._claim_queue(link, queue, n))  # type: ignore[misc]
                    claimed.leases.extend(found.leases)
                    claimed.bad.extend(found.bad)
                    if gated and not found.size:
                        self._claim_limited(link, queue, n, claimed)
                else:
                    self._claim_limited(link, queue, n, claimed)
                if len(claimed.leases) >= n:
                    self._busy = True
                    break
        except psycopg.Error:
            if not claimed.size:  # what was leased must be given; the next call says what is wrong
                raise
        if claimed.bad:
            self._store.write(lambda tx: bury(tx, self._n, claimed.bad))
        return claimed.leases

    def _claim_queue(self, link: Link, queue: bytes, n: int) -> Claimed:
        self._claims += 1
        found = claim(self._store, link, self._n, self._claims, queue, n)
        self._heard = self._claims
        if found.size:
            self._last_queue = queue
        return found

    def _claim_limited(self, link: Link, queue: bytes, n: int, claimed: Claimed) -> None:
        """Add to what was claimed, up to `n` leases, where ready jobs have limits: in rounds, which are short."""
        size = n - len(claimed.leases)
        self._limited.discard(queue)
        for _ in range(_ROUNDS):
            self._claims += 1
            its, wanted = Claim(self._n, self._claims, queue), n - len(claimed.leases)
            found = Store.again(
                link,
                lambda link, its=its, n=wanted, size=size: self._store.write_on(  # type: ignore[misc]
                    link, lambda tx: claim_round(tx, its, n, size)
                ),
            )
            self._heard = self._claims
            claimed.leases.extend(found.leases)
            claimed.bad.extend(found.bad)
            if found.leases:
                self._last_queue = queue
            if found.limited:
                self._limited.add(queue)
            if len(claimed.leases) >= n or not found.shut:
                return
            size = AT_ONCE
        self._passing = True

    def _claim_parked(self, link: Link, n: int) -> list[Lease]:
        """As `_claim`, with the parked jobs that this consumer knows among the ready ones."""
        self._claims += 1
        self._passing = False

        def claiming(tx: Transaction) -> list[Claimed]:
            parked = self._looker.unpark(tx, n)
            found = self._claim_within(tx, n)
            self._looker.repark(tx, parked)
            return found

        found = Store.again(link, lambda link: self._store.write_on(link, claiming))
        self._heard = self._claims
        bad = [each for claimed in found for each in claimed.bad]
        if bad:
            self._store.write(lambda tx: bury(tx, self._n, bad))
        return [lease for claimed in found for lease in claimed.leases]

    def _claim_within(self, tx: Transaction, n: int) -> list[Claimed]:
        found: list[Claimed] = []
        look = self._look(tx.link)
        for queue in look.queues:
            its = claim(self._store, tx.link, self._n, self._claims, queue, n)
            if look.gated and not its.size:
                limited = claim_round(tx, Claim(self._n, self._claims, queue), n, max(n, AT_ONCE))
                its = Claimed(limited.leases, limited.bad)
                self._passing = bool(limited.shut) and not its.leases
                if limited.limited:  # the keys of another queue's would be locked out of order
                    n = len(its.leases)
            found.append(its)
            n -= len(its.leases)
            if n <= 0:
                break
        return found

    def _recover(self) -> None:
        """Hand back what was leased by claims whose answers were lost; one that is still under way finds nothing."""
        heard, last = self._heard, self._claims

        def recovering(tx: Transaction) -> bool:
            row = tx.run("SELECT n FROM @.consumers WHERE n = %(n)s FOR UPDATE", n=self._n).fetchone()
            if row is None:
                return False
            tx.run("UPDATE @.consumers SET floor = %(last)s WHERE n = %(n)s", n=self._n, last=last)
            sweep.give_back(tx, "consumer = %(n)s AND claim > %(heard)s", None, n=self._n, heard=heard)
            return True

        if not Store.again(self._line.link(), lambda link: self._store.write_on(link, recovering)):
            self._over = True
        self._heard = last

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
            self._marked, waiting = False, self._marked and not self._busy

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
