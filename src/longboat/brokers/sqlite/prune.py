"""Pruning: what was kept long enough goes, and of what is too much the oldest."""

from __future__ import annotations

import sqlite3

from longboat.brokers.sqlite.ending import forget
from longboat.brokers.sqlite.kv import prune_entries
from longboat.brokers.sqlite.store import Transaction
from longboat.contract.broker import ENDED_KEPT, FORGOTTEN_AFTER
from longboat.core.job import State

FAIRNESS_KEYS_KEPT = 10_000
"""Fairness keys whose last place is known, about: a job of one that is forgotten starts a little sooner."""

_KINDS = ((State.SUCCEEDED, State.CANCELLED), (State.DEAD,))
"""States bounded together."""


def prune(tx: Transaction, limit: int) -> int:
    """Delete up to `limit` ended jobs and memories whose time is over, or that are too many; returns how many."""
    count = _over(tx, limit)
    count += _too_many(tx, limit - count)
    for table, key, over, before in (
        ("places", "id", "until <= ?", tx.now),
        ("puts", "client", "at < ?", tx.now - FORGOTTEN_AFTER),
    ):
        if count < limit:
            chosen = f"SELECT {key} FROM longboat_{table} WHERE {over} LIMIT ?"
            count += tx.run(f"DELETE FROM longboat_{table} WHERE {key} IN ({chosen})", (before, limit - count)).rowcount
    if count < limit:
        count += prune_entries(tx, limit - count)
    if tx.run("SELECT count(*) FROM longboat_fairness").fetchone()[0] > FAIRNESS_KEYS_KEPT:
        # One stays: it tells that there are jobs with fairness keys.
        key = "queue, rank, fairness_key"
        tx.run(f"DELETE FROM longboat_fairness WHERE ({key}) <> (SELECT {key} FROM longboat_fairness LIMIT 1)")
    tx.run("DELETE FROM longboat_counts WHERE n = 0")
    return count


def delete_ended(tx: Transaction, state: State, queue: str, first: int, last: int, limit: int) -> int:
    """Delete up to `limit` of the jobs with these numbers, the oldest first; returns how many."""
    values = {"state": state.value, "queue": queue, "first": first, "last": last, "limit": limit}
    within = "state = :state AND queue = :queue AND n BETWEEN :first AND :last"
    bound = tx.run(
        f"SELECT count(*), max(n) FROM (SELECT n FROM longboat_ended WHERE {within} ORDER BY n LIMIT :limit)", values
    ).fetchone()
    if not bound[0]:
        return 0
    values["last"] = bound[1]
    forget(tx, f"SELECT seq, id FROM longboat_ended WHERE {within}", values)
    deleted: int = tx.run(f"DELETE FROM longboat_ended WHERE {within}", values).rowcount
    tx.count(queue, state, -deleted)
    return deleted


def is_due(db: sqlite3.Connection, now: float) -> bool:
    moment = db.execute(
        "SELECT min(until) FROM (SELECT min(until) AS until FROM longboat_kept UNION ALL "
        "SELECT min(until) FROM longboat_places WHERE until IS NOT NULL UNION ALL "
        "SELECT min(until) FROM longboat_entries WHERE until IS NOT NULL UNION ALL "
        "SELECT min(at) + ? FROM longboat_puts)",
        (FORGOTTEN_AFTER,),
    ).fetchone()[0]
    return (moment is not None and moment <= now) or bool(_surplus(db))


def _over(tx: Transaction, limit: int) -> int:
    count = 0
    while count < limit:
        row = tx.run(
            "SELECT until, state, queue, first, last FROM longboat_kept WHERE until <= ? ORDER BY until LIMIT 1", (tx.now,)
        ).fetchone()
        if row is None:
            break
        until, state, queue, first, last = row
        deleted = delete_ended(tx, State(state), queue, first, last, limit - count)
        count += deleted
        if count >= limit:
            break  # there may be more of these: the row is looked at again, and goes when none is left
        tx.run(
            "DELETE FROM longboat_kept WHERE until = ? AND state = ? AND queue = ? AND first = ?",
            (until, state, queue, first),
        )
    return count


def _surplus(db: sqlite3.Connection) -> list[tuple[str, tuple[State, ...], int]]:
    """Queues that keep too many ended jobs: (queue, kind, how many too many)."""
    counts = {(queue, state): n for queue, state, n in db.execute("SELECT queue, state, n FROM longboat_counts WHERE n > 0")}
    found: list[tuple[str, tuple[State, ...], int]] = []
    for queue in {queue for queue, _ in counts}:
        for kind in _KINDS:
            surplus = sum(counts.get((queue, state.value), 0) for state in kind) - ENDED_KEPT
            if surplus > 0:
                found.append((queue, kind, surplus))
    return found


def _too_many(tx: Transaction, limit: int) -> int:
    count = 0
    for queue, kind, surplus in _surplus(tx.db) if limit > 0 else ():
        each = " UNION ALL ".join(
            "SELECT * FROM (SELECT state, n FROM longboat_ended "
            f"WHERE state = '{state.value}' AND queue = :queue ORDER BY n LIMIT :k)"
            for state in kind
        )
        k = min(surplus, limit - count)
        oldest = tx.run(
            f"SELECT state, min(n), max(n) FROM (SELECT state, n FROM ({each}) ORDER BY n LIMIT :k) GROUP BY state",
            {"queue": queue, "k": k},
        ).fetchall()
        for state, first, last in oldest:
            count += delete_ended(tx, State(state), queue, first, last, limit)
    return count
