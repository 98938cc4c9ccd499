"""Limits: the claim leases the jobs that they have room for, and moves the others to `waiting`, blocked by its key."""

from __future__ import annotations

import math
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Sequence

from longboat.brokers.sqlite.following import NEVER, NO_REASON
from longboat.brokers.sqlite.kv import value_of
from longboat.brokers.sqlite.packing import as_json
from longboat.brokers.sqlite.rows import COLUMNS, PAST, PLACE
from longboat.brokers.sqlite.store import Transaction
from longboat.contract.broker import Lease
from longboat.contract.limit_numbers import NAMESPACE, at_present
from longboat.core.constraints import JobLimit
from longboat.core.job import State
from longboat.core.views import LimitView, job_or_none

BLOCKED = "\x00limit "
"""What `waits_for` begins with in the rows of blocked jobs; the limit's key follows."""
BEFORE, _PAST = "\x00limit", "\x00limit!"
KEYS_AT_ONCE = 500
"""Limits that one round of housekeeping looks at, at most."""
_UNBLOCKED_AT_ONCE = 10_000
"""Jobs unblocked in one transaction, at most: other writers wait meanwhile, and the rest goes in the next round."""

_TOKENS = "(SELECT value FROM json_each(:tokens))"
_QUEUES = """
    WITH RECURSIVE found (queue) AS (
        SELECT min(queue) FROM longboat_waiting WHERE waits_for = :waits_for
        UNION ALL
        SELECT (SELECT min(queue) FROM longboat_waiting WHERE waits_for = :waits_for AND queue > found.queue) FROM found
        WHERE queue IS NOT NULL
    )
    SELECT queue FROM found WHERE queue IS NOT NULL"""
"""Those with jobs that a limit blocks. Step by step: DISTINCT would look at every job."""
_BLOCKING = """
    WITH RECURSIVE found (waits_for) AS (
        SELECT min(waits_for) FROM longboat_waiting WHERE waits_for > :after AND waits_for < :past
        UNION ALL
        SELECT (SELECT min(waits_for) FROM longboat_waiting WHERE waits_for > found.waits_for AND waits_for < :past)
        FROM found WHERE waits_for IS NOT NULL
    )
    SELECT waits_for FROM found WHERE waits_for IS NOT NULL LIMIT :limit"""


def admit_or_block(tx: Transaction, queue: str, leases: Sequence[Lease], full: set[JobLimit]) -> list[Lease]:
    """Of these new leases of one queue, in order, those whose limits have room; the others are blocked.

    `full`: limits that this transaction found without room; nothing makes room meanwhile.
    """
    kept: list[Lease] = []
    blocked: defaultdict[str, list[int]] = defaultdict(list)
    present: dict[JobLimit, JobLimit] = {}
    for lease in leases:
        limits = lease.job.constraints.limits if lease.job.constraints else ()
        if limits:
            present |= {limit: _present(tx, limit) for limit in limits if limit not in present}
            limits = [present[limit] for limit in limits]
        for limit in limits:
            if limit in full:
                break
            if _room(tx, limit) <= 0:
                full.add(limit)
                _note_opening(tx, limit)
                break
        else:
            for limit in limits:
                _enter(tx, limit, lease)
            kept.append(lease)
            continue
        blocked[limit.key].append(lease.token)
    for key, tokens in blocked.items():
        _block(tx, queue, key, tokens)
    return kept


def _present(tx: Transaction, limit: JobLimit) -> JobLimit:
    return at_present(limit, value_of(tx, NAMESPACE, limit.name)) if limit.name else limit


def _room(tx: Transaction, limit: JobLimit) -> float:
    room = math.inf
    if limit.running is not None:
        live = tx.run("SELECT count(*) FROM longboat_limit_usage WHERE limit_key = ? AND live", (limit.key,)).fetchone()[0]
        room = limit.running - live
    if limit.starts is not None:
        started = tx.run(
            "SELECT count(*) FROM longboat_limit_usage WHERE limit_key = ? AND at > ? AND until > 0",
            (limit.key, tx.now - limit.per),
        ).fetchone()[0]
        room = min(room, limit.starts - started)
    return room


def _enter(tx: Transaction, limit: JobLimit, lease: Lease) -> None:
    until = 0.0 if limit.starts is None else tx.now + limit.per
    values = (limit.key, lease.token, lease.job.id, tx.now, until)
    tx.run("INSERT OR REPLACE INTO longboat_limit_usage VALUES (?, ?, ?, ?, ?, 1)", values)
    if limit.starts is not None and _blocks(tx, limit.key):
        _note_opening(tx, limit)  # this start may have taken the room of jobs that wait already


def _blocks(tx: Transaction, key: str) -> bool:
    return tx.run("SELECT 1 FROM longboat_waiting WHERE waits_for = ? LIMIT 1", (BLOCKED + key,)).fetchone() is not None


def _block(tx: Transaction, queue: str, key: str, tokens: Sequence[int]) -> None:
    values = {"waits_for": BLOCKED + key, "never": NEVER, "reason": NO_REASON, "tokens": as_json(tokens)}
    tx.run(
        f"INSERT INTO longboat_waiting SELECT :waits_for, {PLACE}, :never, :reason, {PAST} "
        f"FROM longboat_leased WHERE token IN {_TOKENS}",
        values,
    )
    tx.run(f"DELETE FROM longboat_leased WHERE token IN {_TOKENS}", {"tokens": values["tokens"]})
    tx.count(queue, State.RUNNING, -len(tokens))
    tx.count(queue, State.WAITING, len(tokens))


def _note_opening(tx: Transaction, limit: JobLimit) -> None:
    """Where time alone keeps it full: when that is over."""
    if limit.starts is None:
        return
    row = tx.run(
        "SELECT at FROM longboat_limit_usage WHERE limit_key = ? AND at > ? AND until > 0 ORDER BY at DESC LIMIT 1 OFFSET ?",
        (limit.key, tx.now - limit.per, limit.starts - 1),
    ).fetchone()
    if row is not None:
        # The earliest for any of its queues: one that is looked at too soon is only looked at again.
        tx.run(
            "INSERT INTO longboat_limit_openings VALUES (?, ?) ON CONFLICT DO UPDATE SET at = min(at, excluded.at)",
            (limit.key, row[0] + limit.per),
        )


def leave(tx: Transaction, leases: Iterable[Lease]) -> bool:
    """These leases have ended. Returns whether that unblocked others."""
    tokens = [lease.token for lease in leases if lease.job.constraints is not None and lease.job.constraints.limits]
    return bool(tokens) and _free(tx, _TOKENS, {"tokens": as_json(tokens)})


def leave_all(tx: Transaction, consumer: int) -> bool:
    """All leases of the consumer end; they still stand in `leased`. Returns whether that unblocked others."""
    if not tx.run("SELECT EXISTS (SELECT 1 FROM longboat_limit_usage WHERE live)").fetchone()[0]:
        return False
    return _free(tx, "(SELECT token FROM longboat_leased WHERE consumer = :consumer)", {"consumer": consumer})


def _free(tx: Transaction, tokens: str, values: dict[str, object]) -> bool:
    keys = tx.run(f"SELECT DISTINCT limit_key FROM longboat_limit_usage WHERE token IN {tokens} AND live", values).fetchall()
    tx.run(f"DELETE FROM longboat_limit_usage WHERE token IN {tokens} AND until <= :now", {**values, "now": tx.now})
    tx.run(f"UPDATE longboat_limit_usage SET live = 0 WHERE token IN {tokens}", values)
    return sum(unblock(tx, key) for (key,) in keys) > 0


def unblock(tx: Transaction, key: str) -> int:
    """Of each queue's blocked jobs as many are ready again as there is room for. Returns how many."""
    tx.run("DELETE FROM longboat_limit_openings WHERE limit_key = ?", (key,))
    queues = tx.run(_QUEUES, {"waits_for": BLOCKED + key}).fetchall()
    return sum(_unblock_queue(tx, key, queue) for (queue,) in queues)


def _unblock_queue(tx: Transaction, key: str, queue: str) -> int:
    waits_for = BLOCKED + key
    limit = _limit_of_first(tx, waits_for, queue, key)
    if limit is None:
        return _make_ready(tx, waits_for, queue, 1)  # its claim finds out what is wrong with it
    room = _room(tx, limit)
    moved = _make_ready(tx, waits_for, queue, int(min(room, _UNBLOCKED_AT_ONCE))) if room > 0 else 0
    if limit.starts is not None and _blocks(tx, key):
        _note_opening(tx, limit)
    return moved


def _limit_of_first(tx: Transaction, waits_for: str, queue: str, key: str) -> JobLimit | None:
    row = tx.run(
        "SELECT (SELECT message FROM longboat_jobs AS j WHERE j.seq = w.seq AND j.id = w.id) FROM longboat_waiting AS w "
        "WHERE waits_for = ? AND queue = ? ORDER BY rank, seq, id LIMIT 1",
        (waits_for, queue),
    ).fetchone()
    job = job_or_none(row[0]) if row else None
    limits = job.constraints.limits if job and job.constraints else ()
    return next((_present(tx, limit) for limit in limits if limit.key == key), None)


def _make_ready(tx: Transaction, waits_for: str, queue: str, n: int) -> int:
    first = "FROM longboat_waiting WHERE waits_for = :waits_for AND queue = :queue ORDER BY rank, seq, id LIMIT :n"
    values = {"waits_for": waits_for, "queue": queue, "n": n}
    moved = tx.run(f"INSERT OR IGNORE INTO longboat_ready SELECT {COLUMNS} {first}", values).rowcount
    tx.run(f"DELETE FROM longboat_waiting WHERE (waits_for, {PLACE}) IN (SELECT waits_for, {PLACE} {first})", values)
    tx.count(queue, State.WAITING, -moved)
    tx.count(queue, State.READY, moved)
    return moved


def are_used(db: sqlite3.Connection) -> bool:
    blocked = "SELECT 1 FROM longboat_waiting WHERE waits_for > ? AND waits_for < ?"
    sql = f"SELECT EXISTS (SELECT 1 FROM longboat_limit_usage) OR EXISTS ({blocked})"
    return bool(db.execute(sql, (BEFORE, _PAST)).fetchone()[0])


def sweep_blocked(tx: Transaction, after: str) -> tuple[int, str]:
    """Unblock wherever there is room: time made it, or a job that had been unblocked left without having been leased.

    Looks at some limits, those behind `after`. Returns how many jobs it unblocked, and what the next round begins behind.
    """
    tx.run("DELETE FROM longboat_limit_usage WHERE NOT live AND until <= ?", (tx.now,))
    found = [each for (each,) in tx.run(_BLOCKING, {"after": after, "past": _PAST, "limit": KEYS_AT_ONCE})]
    moved = sum(unblock(tx, each.removeprefix(BLOCKED)) for each in found)
    return moved, found[-1] if len(found) == KEYS_AT_ONCE else BEFORE


def open_due(tx: Transaction, limit: int) -> int:
    """Unblock the jobs of up to `limit` limits that time has made room for."""
    due = tx.run(
        "SELECT limit_key FROM longboat_limit_openings WHERE at <= ? ORDER BY at LIMIT ?", (tx.now, limit)
    ).fetchall()
    return sum(unblock(tx, key) for (key,) in due)


def views(db: sqlite3.Connection, now: float, keys: Iterable[str]) -> list[LimitView | None]:
    found: list[LimitView | None] = []
    for key in keys:
        live = "FROM longboat_limit_usage WHERE limit_key = ? AND live"
        running = db.execute(f"SELECT count(*) {live}", (key,)).fetchone()[0]
        holders = db.execute(f"SELECT id {live} ORDER BY token LIMIT 10", (key,)).fetchall()
        sql = "SELECT count(*) FROM longboat_limit_usage WHERE limit_key = ? AND until > 0 AND until > ?"
        started = db.execute(sql, (key, now)).fetchone()[0]
        waiting = db.execute("SELECT count(*) FROM longboat_waiting WHERE waits_for = ?", (BLOCKED + key,)).fetchone()[0]
        opening = db.execute("SELECT at FROM longboat_limit_openings WHERE limit_key = ?", (key,)).fetchone()
        if running or started or waiting:
            ids = [job_id for (job_id,) in holders]
            found.append(LimitView(key, running, ids, waiting, started, opening[0] if opening else None))
        else:
            found.append(None)
    return found
