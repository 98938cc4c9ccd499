"""A consumer's claims, each with a number, so that one whose answer was lost can be undone."""

from __future__ import annotations

from collections.abc import Sequence

import psycopg

from longboat.brokers.postgres import sweep
from longboat.brokers.postgres.claim import Claimed, bury, claim
from longboat.brokers.postgres.limited import AT_ONCE, Claim, claim_round
from longboat.brokers.postgres.link import TimedConnection
from longboat.brokers.postgres.look import Look, Looker
from longboat.brokers.postgres.store import Store
from longboat.brokers.postgres.transaction import Connection, Transaction
from longboat.contract.broker import Lease

_ROUNDS = 10
"""Transactions in which one claim goes on past jobs that their limits shut out, at most."""


class Claims:
    """Used by one thread at a time. Errors as of psycopg."""

    def __init__(self, store: Store, consumer: int, looker: Looker) -> None:
        self._store = store
        self._consumer = consumer
        self._looker = looker
        self.made = self.heard = 0
        """The last claim that was made, and the last one whose answer came: between them the server may have leased
        jobs that nobody here knows of."""
        self.is_busy = False
        """The last claim did not empty the queue."""
        self.is_passing = False
        """The last claim came to its end among jobs that their limits shut out."""
        self.limited: set[bytes] = set()
        """Queues where some of the jobs looked at last had limits."""
        self._last_queue = b""

    def look(self, link: Connection) -> Look:
        return self._looker.look(lambda sql, **values: self._store.run(link, sql, values), self._last_queue)

    def ready(self, link: TimedConnection, queues: Sequence[bytes], n: int, limited: bool) -> list[Lease]:
        """Lease up to `n` ready jobs of these queues, in order. `gated`: some ready jobs have limits."""
        claimed = Claimed([], [])
        self.is_busy = self.is_passing = False
        if not limited:
            self.limited.clear()
        try:
            for queue in queues:
                self._claim(link, queue, n, limited, claimed)
                if len(claimed.leases) >= n:
                    self.is_busy = True
                    break
        except psycopg.Error:
            if not claimed.size:  # what was leased must be given; the next call says what is wrong
                raise
        self._bury(claimed.bad)
        return claimed.leases

    def parked(self, link: TimedConnection, n: int) -> list[Lease]:
        """The same with the parked jobs that this consumer knows among the ready ones."""
        self.made += 1
        self.is_busy = self.is_passing = False

        def claiming(tx: Transaction) -> Claimed:
            parked = self._looker.unpark(tx, n)
            claimed = self._claim_within(tx, n)
            self._looker.repark(tx, parked)
            return claimed

        claimed = Store.again(link, lambda link: self._store.write_on(link, claiming))
        self.heard = self.made
        self._bury(claimed.bad)
        return claimed.leases

    def recover(self, link: TimedConnection) -> bool:
        """Hand back what was leased by claims whose answers were lost; one that is still under way finds nothing.

        Returns whether the consumer lives.
        """
        heard, last = self.heard, self.made

        def recovering(tx: Transaction) -> bool:
            row = tx.run("SELECT n FROM @.consumers WHERE n = %(n)s FOR UPDATE", n=self._consumer).fetchone()
            if row is None:
                return False
            tx.run("UPDATE @.consumers SET floor = %(last)s WHERE n = %(n)s", n=self._consumer, last=last)
            sweep.give_back(tx, "consumer = %(n)s AND claim > %(heard)s", None, n=self._consumer, heard=heard)
            return True

        lives = Store.again(link, lambda link: self._store.write_on(link, recovering))
        self.heard = last
        return lives

    def _claim(self, link: TimedConnection, queue: bytes, n: int, limited: bool, claimed: Claimed) -> None:
        """Add to what was claimed, up to `n` leases."""
        if queue not in self.limited:
            wanted = n - len(claimed.leases)
            found = Store.again(link, lambda link: self._claim_plain(link, queue, wanted, limited))
            self._add(queue, found, claimed)
            if found.size or not limited:
                return
        size = n - len(claimed.leases)
        self.limited.discard(queue)
        for _ in range(_ROUNDS):
            if self._claim_round(link, queue, n, size, claimed):
                return
            size = AT_ONCE
        self.is_passing = True

    def _claim_plain(self, link: TimedConnection, queue: bytes, n: int, limited: bool) -> Claimed:
        self.made += 1
        found = claim(self._store, link, self._consumer, self.made, queue, n, beside=limited)
        self.heard = self.made
        return found

    def _claim_round(self, link: TimedConnection, queue: bytes, n: int, size: int, claimed: Claimed) -> bool:
        """Whether that was all that can be had."""
        self.made += 1
        its, wanted = Claim(self._consumer, self.made, queue), n - len(claimed.leases)
        found = Store.again(link, lambda link: self._store.write_on(link, lambda tx: claim_round(tx, its, wanted, size)))
        self.heard = self.made
        self._add(queue, Claimed(found.leases, found.bad), claimed)
        if found.limited:
            self.limited.add(queue)
        return len(claimed.leases) >= n or not found.shut

    def _claim_within(self, tx: Transaction, n: int) -> Claimed:
        claimed = Claimed([], [])
        look = self.look(tx.link)
        for queue in look.queues:
            wanted = n - len(claimed.leases)
            found = claim(self._store, tx.link, self._consumer, self.made, queue, wanted, beside=look.limited)
            self._add(queue, found, claimed)
            if look.limited and not found.size:
                its = Claim(self._consumer, self.made, queue)
                limited = claim_round(tx, its, wanted, max(wanted, AT_ONCE))
                self._add(queue, Claimed(limited.leases, limited.bad), claimed)
                self.is_passing = bool(limited.shut) and not claimed.leases
                if limited.limited:  # the keys of another queue's would be locked out of order
                    break
            if len(claimed.leases) >= n:
                break
        return claimed

    def _add(self, queue: bytes, found: Claimed, claimed: Claimed) -> None:
        claimed.leases.extend(found.leases)
        claimed.bad.extend(found.bad)
        if found.size:
            self._last_queue = queue

    def _bury(self, bad: Sequence[tuple[int, str]]) -> None:
        if bad:
            self._store.write(lambda tx: bury(tx, self._consumer, bad))
