"""Relay: brings jobs from an outbox table to the broker, in batches and in order. Any number of relays may share a table.

A batch is written down with its token before it is put, and removed after that. Whoever finds one whose relay has died puts
the same jobs with the same token once more: a broker that knows tokens makes no second job of it, whatever has become of the
first.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
from collections.abc import Sequence

from longboat.client.flows import NAMESPACE
from longboat.client.outbox_table import LATE, Extra, OutboxTable, Row
from longboat.client.storing import REFUSALS, store
from longboat.contract.broker import Broker
from longboat.core import codec
from longboat.core.clock import SYSTEM
from longboat.core.job import Job
from longboat.core.seldom import Seldom
from longboat.errors import BrokerError
from longboat.tasks.outgoing import Outgoing

log = logging.getLogger("longboat.relay")

BATCH = 100
"""Jobs in one put, at most."""
LOOK = 0.5
"""Seconds between two looks into an empty table."""
LEASE = 15.0
"""Seconds after which the batch of a relay that does not go on with it is taken over."""
BUDGET = 0.1
"""Seconds after which `run` returns, about, however much there is to do."""
KEPT = 7 * 86400.0
"""Seconds for which jobs that were refused stay in the table."""
_PRUNE = 3600.0


class Relay:
    """For one thread at a time."""

    def __init__(self, broker: Broker, table: OutboxTable) -> None:
        self._broker = broker
        self._table = table
        self._client = os.urandom(12).hex()
        self._numbers = itertools.count(1)
        self._batch = ""
        """Being delivered: the broker has not taken it yet."""
        self._is_there = False
        self._prune_at = 0.0
        self._told = Seldom(60.0)

    def expire(self, now: float) -> None:
        """Give up the jobs that no relay has taken before their deadline."""
        if self._is_there:
            self._table.expire(now)

    def close(self) -> None:
        """Leave what was taken to the next relay, which need not wait for it."""
        with contextlib.suppress(Exception):  # of any database driver: then the lease ends it
            if self._batch:
                self._table.keep(self._batch, 0.0)
        self._table.close()

    def run(self, now: float) -> float:
        """Deliver for a moment; returns the wall-clock time at which to go on. Raises BrokerError: nothing is lost by it."""
        began = SYSTEM.monotonic()
        try:
            self._prepare(now)
            while self._deliver_next():
                if SYSTEM.monotonic() - began > BUDGET:
                    return SYSTEM.now()
        except BrokerError:
            raise
        except Exception as error:  # of any database driver
            self._table.close()
            if self._told.count():
                log.warning("the outbox table cannot be used, and is tried again: %s", error)
            return SYSTEM.now() + 2 * LOOK
        return SYSTEM.now() + LOOK

    def _prepare(self, now: float) -> None:
        if not self._is_there:
            self._table.create()
            self._is_there = True
        if now >= self._prune_at:
            self._table.prune(now - KEPT)
            self._prune_at = now + _PRUNE

    def _deliver_next(self) -> bool:
        """Whether there was a batch, which is delivered now."""
        if self._batch:
            self._table.keep(self._batch, SYSTEM.now())
        else:
            new = f"{self._client}:{next(self._numbers)}"
            self._batch = self._table.claim(new, BATCH, SYSTEM.now() - LEASE)
        if not self._batch:
            return False
        rows = self._table.rows(self._batch)
        late = [row for row in rows if row.until is not None and row.until < SYSTEM.now()]
        if late:
            self._refuse(late, LATE)
            rows = [row for row in rows if row not in late]
        if rows:
            self._deliver(rows)
        self._table.delivered(self._batch)
        self._batch = ""
        return True

    def _deliver(self, rows: Sequence[Row]) -> None:
        jobs: list[Job] = []
        for row in rows:
            if (job := row.job()) is not None:
                jobs.append(job)
            else:
                self._refuse([row], "its message cannot be read")
        if not jobs:
            return
        extra = codec.decoded(rows[0].extra, Extra) if rows[0].extra is not None else None
        client, _, number = self._batch.rpartition(":")
        token = client, int(number)
        try:
            if extra is None:
                self._broker.put(jobs, token=token)
            else:
                recorded = extra.flow and self._broker.kv.read(NAMESPACE, [extra.flow])[0] is not None
                outgoing = Outgoing(jobs, keys=extra.keys, flow="" if recorded else extra.flow, ends=extra.ends)
                store(self._broker, jobs, outgoing, lambda jobs: self._broker.put(jobs, token=token))
        except REFUSALS as error:
            if len(rows) == 1 or extra is not None:
                self._refuse(rows, str(error))
            else:
                self._table.split(rows)

    def _refuse(self, rows: Sequence[Row], why: str) -> None:
        self._table.refuse(rows, why)
        log.error("%d jobs are not delivered, the first is %s: %s", len(rows), rows[0].id, why)
