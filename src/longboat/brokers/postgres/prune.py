"""Pruning: what is over goes, in small transactions, so that nobody waits for it; and the counts are summed up."""

from __future__ import annotations

from longboat.brokers.postgres import fairness, kv, limits
from longboat.brokers.postgres.ending import forget
from longboat.brokers.postgres.store import Store
from longboat.brokers.postgres.transaction import Transaction
from longboat.contract.broker import ENDED_KEPT, FORGOTTEN_AFTER
from longboat.core.job import State

EVERY = 2.0
"""Seconds between one process's rounds."""

_CHUNK = 1000
_ROUND = 100
"""Chunks in one round at most."""
_ROWS = 100
"""Rows of `counts` that are worth summing up."""

_KINDS = ((State.SUCCEEDED, State.CANCELLED), (State.DEAD,))
"""States bounded together."""

COUNTS = "SELECT queue, state, sum(n)::bigint FROM @.counts GROUP BY queue, state HAVING sum(n) <> 0"

# Rows that another sums up at this moment are left to it; what is deleted here is added here, whatever happens beside.
_SUM_UP = """
    WITH gone AS (
        DELETE FROM @.counts WHERE ctid = ANY (ARRAY(SELECT ctid FROM @.counts LIMIT 20000 FOR UPDATE SKIP LOCKED))
        RETURNING queue, state, n)
    INSERT INTO @.counts SELECT queue, state, sum(n) FROM gone GROUP BY queue, state HAVING sum(n) <> 0"""


def housekeep(store: Store) -> None:
    """Prune, if this process has not for a while. Each chunk is a transaction of its own."""
    if store.due("gates", limits.EVERY):
        store.write(limits.with_room)
    if not store.due("prune", EVERY):
        return
    rows = store.call(f"SELECT count(*) FROM (SELECT 1 FROM @.counts LIMIT {_ROWS}) AS c")
    if rows[0][0] >= _ROWS:
        store.write(lambda tx: tx.run(_SUM_UP).rowcount)
    store.write(_tidy)
    for _ in range(_ROUND):
        if store.write(lambda tx: prune(tx, _CHUNK)) < _CHUNK:
            return


def _tidy(tx: Transaction) -> None:
    limits.tidy(tx)
    fairness.forget(tx, _CHUNK)


def prune(tx: Transaction, limit: int) -> int:
    """Delete up to `limit` ended jobs, memories and notes whose time is over, or that are too many; returns how many."""
    if not tx.run("SELECT pg_try_advisory_xact_lock(hashtext(%(name)s))", name=tx.channel).fetchone()[0]:
        return 0
    count = _over(tx, limit)
    count += _too_many(tx, limit - count)
    if count < limit:
        count += tx.run(
            "DELETE FROM @.jobs WHERE ctid = ANY (ARRAY(SELECT ctid FROM @.jobs WHERE until <= %(at)s LIMIT %(limit)s))",
            at=tx.now,
            limit=limit - count,
        ).rowcount
    if count < limit:
        count += tx.run(
            "DELETE FROM @.producers WHERE ctid = ANY "
            "(ARRAY(SELECT ctid FROM @.producers WHERE at < %(at)s LIMIT %(limit)s))",
            at=tx.now - FORGOTTEN_AFTER,
            limit=limit - count,
        ).rowcount
    if count < limit:
        count += kv.prune(tx, limit - count)
    tx.run("DELETE FROM @.watchers WHERE until < extract(epoch FROM clock_timestamp()) - 60")
    return count


def delete_ended(tx: Transaction, state: State, queue: bytes, limit: int, n: int | None = None) -> int:
    """Delete up to `limit` of the jobs that ended so (in call `n`, or any), the oldest first; returns how many."""
    which = "AND n = %(n)s" if n is not None else ""
    rows = tx.run(
        "DELETE FROM @.ended WHERE ctid = ANY (ARRAY(SELECT ctid FROM @.ended "
        f"WHERE state = %(state)s AND queue = %(queue)b {which} ORDER BY state, queue, n, place LIMIT %(limit)s "
        "FOR UPDATE)) RETURNING place, ended",
        state=state.value,
        queue=queue,
        n=n,
        limit=limit,
    ).fetchall()
    forget(tx, [place for place, _ in rows], [ended for _, ended in rows])
    tx.count(queue, state, -len(rows))
    return len(rows)


def _over(tx: Transaction, limit: int) -> int:
    count = 0
    while count < limit:
        terms = tx.run(
            "SELECT until, n, state, queue FROM @.terms WHERE until <= %(at)s ORDER BY until, n LIMIT 100", at=tx.now
        ).fetchall()
        for until, n, state, queue in terms:
            count += delete_ended(tx, State(state), queue, limit - count, n)
            if count >= limit:
                return count  # the term may not be done: it is looked at again, and found empty if it is
            tx.run("DELETE FROM @.terms WHERE until = %(until)s AND n = %(n)s", until=until, n=n)
        if not terms:
            break
    return count


def _too_many(tx: Transaction, limit: int) -> int:
    """Of queues that keep too many ended jobs, the oldest."""
    if limit <= 0:
        return 0
    counts = {(queue, state): n for queue, state, n in tx.run(COUNTS).fetchall()}
    count = 0
    for queue in {queue for queue, _ in counts}:
        for kind in _KINDS:
            surplus = sum(counts.get((queue, state.value), 0) for state in kind) - ENDED_KEPT
            for state in _oldest(tx, queue, kind, min(surplus, limit - count)):
                count += delete_ended(tx, State(state[0]), queue, state[1])
    return count


def _oldest(tx: Transaction, queue: bytes, kind: tuple[State, ...], k: int) -> list[tuple[str, int]]:
    """How many of each state are among the `k` oldest."""
    if k <= 0:
        return []
    each = " UNION ALL ".join(
        f"(SELECT state, n, place FROM @.ended WHERE state = '{state.value}' AND queue = %(queue)b "
        "ORDER BY state, queue, n, place LIMIT %(k)s)"
        for state in kind
    )
    sql = f"SELECT state, count(*) FROM (SELECT state FROM ({each}) AS a ORDER BY n, place LIMIT %(k)s) AS b GROUP BY state"
    found: list[tuple[str, int]] = tx.run(sql, queue=queue, k=k).fetchall()
    return found
