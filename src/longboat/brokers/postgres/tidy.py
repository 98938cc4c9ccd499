"""Housekeeping in small transactions, so that nobody waits for it: what is due, what is over, and what is too much."""

from __future__ import annotations

import math
from typing import Any

import msgspec

from longboat.brokers.postgres import fairness, limits
from longboat.brokers.postgres.names import name_of
from longboat.brokers.postgres.rows import (
    QUEUED,
    Ending,
    JobRow,
    appended,
    delete_some,
    end,
    end_cancelled,
    forget,
    insert,
    take,
)
from longboat.brokers.postgres.store import Store, Transaction
from longboat.contract.broker import DEAD_KEPT, ENDED_KEPT, FORGOTTEN_AFTER
from longboat.core import codec, reasons
from longboat.core.clock import SYSTEM
from longboat.core.job import Failure, State

_DUE_CHUNK = 500
"""Rows that are due and are moved in one transaction, at most."""
_EVERY = 1.0
"""Seconds between two rounds."""
_PRUNE_EVERY = 2.0
"""Seconds between rounds of pruning in one process."""

_CHUNK = 1000
_ROWS = 100
"""Rows of `counts` that are worth summing up."""

_KINDS = ((State.SUCCEEDED, State.CANCELLED), (State.DEAD,))
"""States bounded together."""

COUNTS = "SELECT queue, state, sum(n)::bigint FROM @.counts GROUP BY queue, state HAVING sum(n) <> 0"

# Rows that another transaction is summing up are left to it; what is deleted here is added here, whatever happens beside.
_SUM_UP = """
    WITH gone AS (
        DELETE FROM @.counts WHERE ctid = ANY (ARRAY(SELECT ctid FROM @.counts LIMIT 20000 FOR UPDATE SKIP LOCKED))
        RETURNING queue, state, n)
    INSERT INTO @.counts SELECT queue, state, sum(n) FROM gone GROUP BY queue, state HAVING sum(n) <> 0"""


class Housekeeper:
    """One process's share of the housekeeping. Any number of processes may do it at the same time."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._pruned = -math.inf
        self._numbers = ""
        """Of limits, as last seen."""

    def tidy(self, budget: float) -> float:
        """See contract/tidy.py."""
        until = SYSTEM.monotonic() + budget
        while self._store.write(sweep):
            if SYSTEM.monotonic() >= until:
                return 0.0
        self._numbers = self._store.write(lambda tx: limits.heed(tx, self._numbers))
        self._store.write(limits.with_room)
        now = (self._store.clock or SYSTEM).monotonic()
        if now - self._pruned < _PRUNE_EVERY:
            return _EVERY
        self._store.write(_sum_up)
        self._store.write(_forget)
        while self._store.write(lambda tx: prune(tx, _CHUNK)) >= _CHUNK:
            if SYSTEM.monotonic() >= until:
                return 0.0
        self._pruned = now
        return _EVERY


# --- what is due


def sweep(tx: Transaction, besides: int = 0) -> bool:
    """Do everything that is due by now; whether there is more. `besides`: a consumer that lives, whatever its deadline."""
    for n, consumer_id, name in tx.run(
        "SELECT n, id, name FROM @.consumers WHERE deadline <= %(at)s AND n <> %(besides)s "
        "ORDER BY n LIMIT 20 FOR UPDATE SKIP LOCKED",
        at=tx.now,
        besides=besides,
    ).fetchall():
        end_consumer(tx, n, reasons.worker_died(name_of(name) or consumer_id, tx.now))
    limits.due(tx)
    due = [row for (row,) in _take_due(tx, "scheduled", "due")]
    insert(tx, "ready", due)
    return max(len(due), *(_expire(tx, table) for table in QUEUED), _lose_patience(tx)) >= _DUE_CHUNK


def end_consumer(tx: Transaction, consumer: int, failure: Failure | None) -> int:
    """The consumer is over: its jobs come back, or are cancelled where that was requested. Returns how many it held.

    With a failure, the attempts of those that it had started count, and the `worker_deaths` of all go up.
    """
    gone = tx.run("DELETE FROM @.consumers WHERE n = %(n)s RETURNING n", n=consumer).fetchone()
    return give_back(tx, "consumer = %(consumer)s", failure, consumer=consumer) if gone else 0


def give_back(tx: Transaction, which: str, failure: Failure | None, **values: Any) -> int:
    """End the leases that the condition names. Their consumer's row must be locked."""
    found = f"SELECT ctid FROM @.leased WHERE {which} ORDER BY token FOR UPDATE"
    leases = sorted(take(tx, "leased", found, "started, cancel, since, token", **values))
    back: list[JobRow] = []
    cancelled: list[tuple[JobRow, float | None]] = []
    for row, started, cancel, since, _ in leases:
        if failure is not None:
            row = _counted(row, started, failure)
        if cancel:
            cancelled.append((row, since))
        else:
            back.append(row)
    insert(tx, "ready", back)
    end_cancelled(tx, cancelled, reasons.cancelled)
    limits.leave(tx, [token for *_, token in leases])
    return len(leases)


def _counted(row: JobRow, started: bool, failure: Failure) -> JobRow:
    row = row._replace(worker_deaths=row.worker_deaths + 1)
    if not started:
        return row
    failures = appended(row.failures, msgspec.structs.replace(failure, attempt=row.attempts + 1))
    return row._replace(attempts=row.attempts + 1, expires_at=None, failures=failures)


def _take_due(tx: Transaction, table: str, due: str, more: str = "") -> list[tuple[Any, ...]]:
    """Take what is due by this column; what other transactions hold is left to them."""
    found = f"SELECT ctid FROM @.{table} WHERE {due} <= %(at)s ORDER BY {due} LIMIT {_DUE_CHUNK} FOR UPDATE SKIP LOCKED"
    return take(tx, table, found, more, at=tx.now)


def _expire(tx: Transaction, table: str) -> int:
    rows = _take_due(tx, table, "expires_at")
    end_cancelled(tx, [(row, None) for (row,) in rows], reasons.expired)
    return len(rows)


def _lose_patience(tx: Transaction) -> int:
    rows = _take_due(tx, "parked", "dead_at", "reason")
    dead = [row._replace(failures=appended(row.failures, *codec.decode_failures(reason))) for row, reason in rows]
    end(tx, State.DEAD, [Ending(row, DEAD_KEPT) for row in dead])
    return len(rows)


# --- what is over, or too much


def _sum_up(tx: Transaction) -> None:
    if tx.run(f"SELECT count(*) FROM (SELECT 1 FROM @.counts LIMIT {_ROWS}) AS c").fetchone()[0] >= _ROWS:
        tx.run(_SUM_UP)


def _forget(tx: Transaction) -> None:
    limits.forget(tx)
    fairness.forget(tx, _CHUNK)


def prune(tx: Transaction, limit: int) -> int:
    """Delete up to `limit` ended jobs, remembered ids and entries that are over or too many; returns how many.

    One process does it at a time.
    """
    if not tx.run("SELECT pg_try_advisory_xact_lock(hashtext(%(name)s))", name=tx.store.channel).fetchone()[0]:
        return 0
    count = _over(tx, limit)
    count += _too_many(tx, limit - count)
    for table, which, at in (
        ("jobs", "until <= %(at)s", tx.now),
        ("producers", "at < %(at)s", tx.now - FORGOTTEN_AFTER),
        ("entries", "until <= %(at)s ORDER BY until", tx.now),
    ):
        if count < limit:
            count += delete_some(tx, table, which, limit - count, at=at)
    tx.run("DELETE FROM @.listeners WHERE until < extract(epoch FROM clock_timestamp()) - 60")
    return count


def delete_ended(tx: Transaction, state: State, queue: bytes, limit: int) -> int:
    """Delete up to `limit` of the jobs that ended so, the oldest first; returns how many."""
    found = (
        "SELECT ctid FROM @.ended WHERE state = %(state)s AND queue = %(queue)b "
        "ORDER BY state, queue, n, place LIMIT %(limit)s FOR UPDATE"
    )
    return _delete_ended(tx, found, state=state.value, queue=queue, limit=limit)


def _delete_ended(tx: Transaction, found: str, **values: Any) -> int:
    rows = tx.run(
        f"DELETE FROM @.ended WHERE ctid = ANY (ARRAY({found})) RETURNING place, ended, state, queue", **values
    ).fetchall()
    forget(tx, [place for place, *_ in rows], [ended for _, ended, *_ in rows])
    for *_, state, queue in rows:
        tx.count(queue, State(state), -1)
    return len(rows)


_TERMS = (
    "unnest(%(untils)b::float8[], %(ns)b::bigint[], %(states)s::text[], %(queues)b::bytea[]) AS g (until, n, state, queue)"
)
_OF_TERM = "@.ended WHERE state = g.state AND queue = g.queue AND n = g.n"
_ENDED_IN_TERMS = (
    f"SELECT e.ctid FROM {_TERMS} CROSS JOIN LATERAL (SELECT ctid FROM {_OF_TERM} "
    "ORDER BY state, queue, n, place LIMIT %(limit)s FOR UPDATE) AS e LIMIT %(limit)s"
)
_END_TERMS = (
    f"DELETE FROM @.retention AS r USING {_TERMS} WHERE r.until = g.until AND r.n = g.n "
    f"AND NOT EXISTS (SELECT 1 FROM {_OF_TERM} OFFSET 0)"
)


def _over(tx: Transaction, limit: int) -> int:
    """Many terms together: jobs that ended one by one have one each."""
    count = 0
    while count < limit and (
        terms := tx.run(
            "SELECT until, n, state, queue FROM @.retention WHERE until <= %(at)s ORDER BY until, n LIMIT 100", at=tx.now
        ).fetchall()
    ):
        untils, ns, states, queues = (list(each) for each in zip(*terms, strict=True))
        values = {"untils": untils, "ns": ns, "states": states, "queues": queues}
        count += _delete_ended(tx, _ENDED_IN_TERMS, **values, limit=limit - count)
        tx.run(_END_TERMS, **values)
    return count


def _too_many(tx: Transaction, limit: int) -> int:
    """Delete the oldest ended jobs of queues that keep too many."""
    if limit <= 0:
        return 0
    counts = {(queue, state): n for queue, state, n in tx.run(COUNTS).fetchall()}
    count = 0
    for queue in {queue for queue, _ in counts}:
        for kind in _KINDS:
            surplus = sum(counts.get((queue, state.value), 0) for state in kind) - ENDED_KEPT
            if (n := min(surplus, limit - count)) > 0:
                each = " UNION ALL ".join(
                    f"(SELECT ctid, n, place FROM @.ended WHERE state = '{state}' AND queue = %(queue)b "
                    "ORDER BY state, queue, n, place LIMIT %(limit)s)"
                    for state in kind
                )
                found = f"SELECT ctid FROM ({each}) AS a ORDER BY n, place LIMIT %(limit)s"
                count += _delete_ended(tx, found, queue=queue, limit=n)
    return count
