"""Pruning: what is over goes, in small transactions, so that nobody waits for it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from longboat.brokers.sqlite import limits
from longboat.brokers.sqlite.ending import forget
from longboat.brokers.sqlite.kv import forget_notes
from longboat.brokers.sqlite.store import Store, Transaction
from longboat.contract.broker import ENDED_KEPT, FORGOTTEN_AFTER
from longboat.core.job import State

EVERY = 2.0
"""Seconds between one process's rounds."""

LINES_EVERY = 1.0
TURNS_KEPT = 10_000
"""Turn keys whose last place is known, about: one that is forgotten has its next turn a little sooner."""

_CHUNK = 1000
_ROUND = 100
"""Chunks in one round at most."""

_KINDS = ((State.SUCCEEDED, State.CANCELLED), (State.DEAD,))
"""States bounded together."""


def housekeep(store: Store, wake: Callable[[], None]) -> None:
    """Prune, if this process has not for a while. Each chunk is a transaction of its own. `wake`: jobs became ready."""
    if store.due("lines", LINES_EVERY) and _has_lines(store):
        with store.write(durable=False) as tx:
            returned, store.line = limits.sweep_lines(tx, store.line)
        if returned:
            wake()
    if not store.due("prune", EVERY):
        return
    for _ in range(_ROUND):
        with store.read() as db:
            if not _is_due(db, store.clock.now()):
                return
        with store.write() as tx:
            if not prune(tx, _CHUNK):
                return


def prune(tx: Transaction, limit: int) -> int:
    """Delete up to `limit` ended jobs and memories whose time is over, or that are too many; returns how many."""
    count = _over(tx, limit)
    count += _too_many(tx, limit - count)
    if count < limit:
        count += tx.run(
            "DELETE FROM names WHERE id IN (SELECT id FROM names WHERE until <= ? LIMIT ?)", (tx.now, limit - count)
        ).rowcount
    if count < limit:
        count += tx.run(
            "DELETE FROM producers WHERE client IN (SELECT client FROM producers WHERE at < ? LIMIT ?)",
            (tx.now - FORGOTTEN_AFTER, limit - count),
        ).rowcount
    if count < limit:
        count += forget_notes(tx, limit - count)
    if tx.run("SELECT count(*) FROM turns").fetchone()[0] > TURNS_KEPT:
        # One stays: it tells that there are jobs that took turns.
        tx.run("DELETE FROM turns WHERE (queue, rank, turn) <> (SELECT queue, rank, turn FROM turns LIMIT 1)")
    tx.run("DELETE FROM counters WHERE n = 0")
    return count


def _has_lines(store: Store) -> bool:
    with store.read() as db:
        sql = "SELECT EXISTS (SELECT 1 FROM held) OR EXISTS (SELECT 1 FROM parked WHERE task >= ? AND task < ?)"
        return bool(db.execute(sql, (limits.LINE, limits.PAST_LINES)).fetchone()[0])


def delete_ended(tx: Transaction, state: State, queue: str, first: int, last: int, limit: int) -> int:
    """Delete up to `limit` of the jobs with these numbers, the oldest first; returns how many."""
    values = {"state": state.value, "queue": queue, "first": first, "last": last, "limit": limit}
    within = "state = :state AND queue = :queue AND n BETWEEN :first AND :last"
    bound = tx.run(
        f"SELECT count(*), max(n) FROM (SELECT n FROM ended WHERE {within} ORDER BY n LIMIT :limit)", values
    ).fetchone()
    if not bound[0]:
        return 0
    values["last"] = bound[1]
    forget(tx, f"SELECT seq, id FROM ended WHERE {within}", values)
    deleted: int = tx.run(f"DELETE FROM ended WHERE {within}", values).rowcount
    tx.count(queue, state, -deleted)
    return deleted


def _is_due(db: sqlite3.Connection, now: float) -> bool:
    moment = db.execute(
        "SELECT min(until) FROM (SELECT min(until) AS until FROM terms UNION ALL "
        "SELECT min(until) FROM names WHERE until IS NOT NULL UNION ALL "
        "SELECT min(until) FROM notes WHERE until IS NOT NULL UNION ALL "
        "SELECT min(at) + ? FROM producers)",
        (FORGOTTEN_AFTER,),
    ).fetchone()[0]
    return (moment is not None and moment <= now) or bool(_surplus(db))


def _over(tx: Transaction, limit: int) -> int:
    count = 0
    while count < limit:
        term = tx.run(
            "SELECT until, state, queue, first, last FROM terms WHERE until <= ? ORDER BY until LIMIT 1", (tx.now,)
        ).fetchone()
        if term is None:
            break
        until, state, queue, first, last = term
        deleted = delete_ended(tx, State(state), queue, first, last, limit - count)
        count += deleted
        if count >= limit:
            break  # the term may not be done: it is looked at again, and found empty if it is
        tx.run("DELETE FROM terms WHERE until = ? AND state = ? AND queue = ? AND first = ?", (until, state, queue, first))
    return count


def _surplus(db: sqlite3.Connection) -> list[tuple[str, tuple[State, ...], int]]:
    """Queues that keep too many ended jobs: (queue, kind, how many too many)."""
    counts = {(queue, state): n for queue, state, n in db.execute("SELECT queue, state, n FROM counters WHERE n > 0")}
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
            "SELECT * FROM (SELECT state, n FROM ended "
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
