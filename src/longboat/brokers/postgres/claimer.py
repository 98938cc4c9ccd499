"""A consumer's claims, each with a number, so that one whose answer was lost can be undone."""

from __future__ import annotations

from collections.abc import Sequence

import psycopg

from longboat.brokers.postgres import tidy
from longboat.brokers.postgres.claim import Claim, Claimed, bury, claim
from longboat.brokers.postgres.claim_limited import AT_ONCE, claim_round
from longboat.brokers.postgres.connections import TimedConnection
from longboat.brokers.postgres.floors import Floors, everything
from longboat.brokers.postgres.poll import Poll, Poller, repark
from longboat.brokers.postgres.store import Connection, Store, Transaction
from longboat.contract.broker import Lease

_ROUNDS = 10
"""Transactions in which one claim goes on past blocked jobs, at most."""


class Claimer:
    """Used by one thread at a time. Raises psycopg's errors."""

    def __init__(self, store: Store, consumer: int, poller: Poller) -> None:
        self._store = store
        self._consumer = consumer
        self._poller = poller
        self.floors = Floors()
        self._made = self._heard = 0
        """The last claim that was made, and the last one whose answer came. By those between them the server may have
        leased jobs that nobody here knows of."""
        self.is_busy = False
        """The last claim did not empty the queue."""
        self.is_passing = False
        """The last claim ended among blocked jobs."""
        self.limited: set[bytes] = set()
        """Queues where some of the jobs looked at last had limits."""
        self._last_queue = b""

    def poll(self, conn: Connection) -> Poll:
        return self._poller.poll(lambda sql, **values: self._store.run(conn, sql, values), self.floors, self._last_queue)

    def shared(self, conn: Connection, queues: Sequence[bytes], n: int) -> tuple[int, int]:
        """See Poller."""
        return self._poller.shared(lambda sql, **values: self._store.run(conn, sql, values), self.floors.ranges(queues), n)

    def claim(self, conn: TimedConnection, queues: Sequence[bytes], n: int, limited: bool) -> list[Lease]:
        """Lease up to `n` ready jobs of these queues, in order. `limited`: some ready jobs have limits."""
        claimed = Claimed([], [])
        self.is_busy = self.is_passing = False
        if not limited:
            self.limited.clear()
        try:
            for at, queue in enumerate(queues, 1):
                self._claim(conn, queue, n, limited, claimed)
                if len(claimed.leases) >= n:
                    self.is_busy = True
                    self.floors.left(queues[at:])
                    break
        except psycopg.Error:
            if not claimed.size:  # what was leased must be returned; the next call says what is wrong
                raise
        self._bury(claimed.bad)
        return claimed.leases

    def claim_parked(self, conn: TimedConnection, n: int) -> list[Lease]:
        """The same with the parked jobs that this consumer knows among the ready ones."""
        self.is_busy = self.is_passing = False
        self._made += 1
        self.floors.clear()  # what was parked is anywhere

        def claiming(tx: Transaction) -> Claimed:
            parked = self._poller.unpark(tx, n)
            claimed = self._claim_within(tx, n)
            repark(tx, parked)
            return claimed

        claimed = Store.again(conn, lambda conn: self._store.write_on(conn, claiming))
        self._heard = self._made
        self._bury(claimed.bad)
        return claimed.leases

    def recover(self, conn: TimedConnection) -> bool:
        """Give back what was leased by claims whose answers were lost; one that is still under way will find nothing.

        Returns whether the consumer lives.
        """
        heard, last = self._heard, self._made
        if heard == last:
            return True

        def recovering(tx: Transaction) -> bool:
            row = tx.run("SELECT n FROM @.consumers WHERE n = %(n)s FOR UPDATE", n=self._consumer).fetchone()
            if row is None:
                return False
            tx.run("UPDATE @.consumers SET floor = %(last)s WHERE n = %(n)s", n=self._consumer, last=last)
            tidy.give_back(tx, "consumer = %(n)s AND claim > %(heard)s", None, n=self._consumer, heard=heard)
            return True

        self.floors.clear()
        lives = Store.again(conn, lambda conn: self._store.write_on(conn, recovering))
        self._heard = last
        return lives

    def _claim(self, conn: TimedConnection, queue: bytes, n: int, limited: bool, claimed: Claimed) -> None:
        """Add to what was claimed, up to `n` leases."""
        if queue not in self.limited:
            wanted, its, among = n - len(claimed.leases), self._next(queue), self.floors.ranges([queue])
            found = Store.again(conn, lambda conn: claim(self._store, conn, its, wanted, among, beside=limited))
            self._heard = its.number
            self.floors.claimed(queue, found.ends, found.size)
            self._add(queue, found, claimed)
            if found.size or not limited:
                return
        size = n - len(claimed.leases)
        self.limited.discard(queue)
        for _ in range(_ROUNDS):
            if self._claim_round(conn, queue, n, size, claimed):
                return
            size = AT_ONCE
        self.is_passing = True

    def _claim_round(self, conn: TimedConnection, queue: bytes, n: int, size: int, claimed: Claimed) -> bool:
        """Whether that was all that can be had."""
        wanted, its = n - len(claimed.leases), self._next(queue)
        found = Store.again(conn, lambda conn: self._store.write_on(conn, lambda tx: claim_round(tx, its, wanted, size)))
        self._heard = its.number
        self._add(queue, found, claimed)
        if found.limited:
            self.limited.add(queue)
        return len(claimed.leases) >= n or not found.blocked

    def _claim_within(self, tx: Transaction, n: int) -> Claimed:
        claimed = Claimed([], [])
        polled = self.poll(tx.conn)
        for queue in polled.queues:
            wanted, its = n - len(claimed.leases), Claim(self._consumer, self._made, queue)
            found = claim(self._store, tx.conn, its, wanted, everything([queue]), beside=polled.limited)
            self._add(queue, found, claimed)
            if polled.limited and not found.size:
                found = claim_round(tx, its, wanted, max(wanted, AT_ONCE))
                self._add(queue, found, claimed)
                self.is_passing = bool(found.blocked) and not claimed.leases
                if found.limited:  # the keys of another queue's jobs would be locked out of order
                    break
            if len(claimed.leases) >= n:
                break
        return claimed

    def _next(self, queue: bytes) -> Claim:
        self._made += 1
        return Claim(self._consumer, self._made, queue)

    def _add(self, queue: bytes, found: Claimed, claimed: Claimed) -> None:
        claimed.leases.extend(found.leases)
        claimed.bad.extend(found.bad)
        if found.size:
            self._last_queue = queue

    def _bury(self, bad: Sequence[tuple[int, str]]) -> None:
        if bad:
            self._store.write(lambda tx: bury(tx, self._consumer, bad))
