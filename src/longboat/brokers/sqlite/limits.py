"""Limits: who is let in is checked at the claim, and whoever is shut out stands in a line, parked under the limit's name."""

from __future__ import annotations

import math
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Sequence

from longboat.brokers.sqlite.following import NEVER, NO_REASON
from longboat.brokers.sqlite.packing import as_json
from longboat.brokers.sqlite.store import Transaction
from longboat.contract.broker import Lease
from longboat.core import codec
from longboat.core.constraints import JobLimit
from longboat.core.job import State
from longboat.core.views import LimitView
from longboat.errors import Undecodable

LINE = "\x00gate "
"""What the task of a line begins with; the limit's key follows."""
BEFORE_LINES, PAST_LINES = "\x00gate", "\x00gate!"
LINES_AT_ONCE = 500
"""Lines that one sweep looks at, at most."""
_OUT_AT_ONCE = 10_000
"""Jobs that leave a line at once, at most: others need the gate meanwhile, and what is left goes at the next sweep."""

_ROW = "queue, rank, seq, id, attempts, returns, expires_at, failures"
_TOKENS = "(SELECT value FROM json_each(:tokens))"
_QUEUES = """
    WITH RECURSIVE found (queue) AS (
        SELECT min(queue) FROM parked WHERE task = :task
        UNION ALL
        SELECT (SELECT min(queue) FROM parked WHERE task = :task AND queue > found.queue) FROM found
        WHERE queue IS NOT NULL
    )
    SELECT queue FROM found WHERE queue IS NOT NULL"""
"""Those that have a line. Step by step: DISTINCT would look at every job in it."""
_LINES = """
    WITH RECURSIVE found (task) AS (
        SELECT min(task) FROM parked WHERE task > :after AND task < :past
        UNION ALL
        SELECT (SELECT min(task) FROM parked WHERE task > found.task AND task < :past) FROM found
        WHERE task IS NOT NULL
    )
    SELECT task FROM found WHERE task IS NOT NULL LIMIT :limit"""


def admit_or_block(tx: Transaction, queue: str, leases: Sequence[Lease], shut: set[JobLimit]) -> list[Lease]:
    """Of these new leases of one queue, in order, those whose limits let them in: the others stand in line.

    `shut`: limits that this transaction found shut; nothing opens them meanwhile.
    """
    kept: list[Lease] = []
    lines: defaultdict[str, list[int]] = defaultdict(list)
    for lease in leases:
        limits = lease.job.constraints.limits if lease.job.constraints else ()
        for limit in limits:
            if limit in shut:
                break
            if _room(tx, limit) <= 0:
                shut.add(limit)
                _note_opening(tx, limit)
                break
        else:
            for limit in limits:
                _enter(tx, limit, lease)
            kept.append(lease)
            continue
        lines[limit.key].append(lease.token)
    for key, tokens in lines.items():
        _line_up(tx, queue, key, tokens)
    return kept


def _room(tx: Transaction, limit: JobLimit) -> float:
    room = math.inf
    if limit.running is not None:
        live = tx.run("SELECT count(*) FROM held WHERE gate = ? AND live", (limit.key,)).fetchone()[0]
        room = limit.running - live
    if limit.starts is not None:
        started = tx.run(
            "SELECT count(*) FROM held WHERE gate = ? AND at > ? AND until > 0", (limit.key, tx.now - limit.per)
        ).fetchone()[0]
        room = min(room, limit.starts - started)
    return room


def _enter(tx: Transaction, limit: JobLimit, lease: Lease) -> None:
    until = 0.0 if limit.starts is None else tx.now + limit.per
    tx.run("INSERT OR REPLACE INTO held VALUES (?, ?, ?, ?, ?, 1)", (limit.key, lease.token, lease.job.id, tx.now, until))
    if limit.starts is not None and _has_line(tx, limit.key):
        _note_opening(tx, limit)  # this start may have shut it for those who stand in line already


def _has_line(tx: Transaction, key: str) -> bool:
    return tx.run("SELECT 1 FROM parked WHERE task = ? LIMIT 1", (LINE + key,)).fetchone() is not None


def _line_up(tx: Transaction, queue: str, key: str, tokens: Sequence[int]) -> None:
    values = {"task": LINE + key, "never": NEVER, "reason": NO_REASON, "tokens": as_json(tokens)}
    tx.run(
        "INSERT INTO parked SELECT :task, queue, rank, seq, id, :never, :reason, attempts, returns, expires_at, failures "
        f"FROM leased WHERE token IN {_TOKENS}",
        values,
    )
    tx.run(f"DELETE FROM leased WHERE token IN {_TOKENS}", {"tokens": values["tokens"]})
    tx.count(queue, State.RUNNING, -len(tokens))
    tx.count(queue, State.WAITING, len(tokens))


def _note_opening(tx: Transaction, limit: JobLimit) -> None:
    """Where time alone shuts it: when that is over."""
    if limit.starts is None:
        return
    row = tx.run(
        "SELECT at FROM held WHERE gate = ? AND at > ? AND until > 0 ORDER BY at DESC LIMIT 1 OFFSET ?",
        (limit.key, tx.now - limit.per, limit.starts - 1),
    ).fetchone()
    if row is not None:
        # The earliest for any of its lines: one looked at too soon is only looked at again.
        tx.run(
            "INSERT INTO opening VALUES (?, ?) ON CONFLICT DO UPDATE SET at = min(at, excluded.at)",
            (limit.key, row[0] + limit.per),
        )


def leave(tx: Transaction, leases: Iterable[Lease]) -> bool:
    """These leases have ended. Whether others were let in."""
    tokens = [lease.token for lease in leases if lease.job.constraints is not None and lease.job.constraints.limits]
    return bool(tokens) and _free(tx, _TOKENS, {"tokens": as_json(tokens)})


def leave_all(tx: Transaction, consumer: int) -> bool:
    """All leases of the consumer end; they still stand in `leased`. Whether others were let in."""
    if not tx.run("SELECT EXISTS (SELECT 1 FROM held WHERE live)").fetchone()[0]:
        return False
    return _free(tx, "(SELECT token FROM leased WHERE consumer = :consumer)", {"consumer": consumer})


def _free(tx: Transaction, tokens: str, values: dict[str, object]) -> bool:
    keys = tx.run(f"SELECT DISTINCT gate FROM held WHERE token IN {tokens} AND live", values).fetchall()
    tx.run(f"DELETE FROM held WHERE token IN {tokens} AND until <= :now", {**values, "now": tx.now})
    tx.run(f"UPDATE held SET live = 0 WHERE token IN {tokens}", values)
    return sum(unblock(tx, key) for (key,) in keys) > 0


def unblock(tx: Transaction, key: str) -> int:
    """Move from the front of each queue's line as many as there is room for. Returns how many."""
    tx.run("DELETE FROM opening WHERE gate = ?", (key,))
    queues = tx.run(_QUEUES, {"task": LINE + key}).fetchall()
    return sum(_unblock_queue(tx, key, queue) for (queue,) in queues)


def _unblock_queue(tx: Transaction, key: str, queue: str) -> int:
    task = LINE + key
    limit = _limit_of_first(tx, task, queue, key)
    if limit is None:
        return _step_out(tx, task, queue, 1)  # its claim will say what is wrong with it
    room = _room(tx, limit)
    moved = _step_out(tx, task, queue, int(min(room, _OUT_AT_ONCE))) if room > 0 else 0
    if limit.starts is not None and _has_line(tx, key):
        _note_opening(tx, limit)
    return moved


def _limit_of_first(tx: Transaction, task: str, queue: str, key: str) -> JobLimit | None:
    row = tx.run(
        "SELECT (SELECT body FROM jobs AS j WHERE j.seq = p.seq AND j.id = p.id) FROM parked AS p "
        "WHERE task = ? AND queue = ? ORDER BY rank, seq, id LIMIT 1",
        (task, queue),
    ).fetchone()
    try:
        constraints = codec.decode_job(row[0]).constraints
    except (Undecodable, TypeError):
        return None
    return next((limit for limit in constraints.limits if limit.key == key), None) if constraints else None


def _step_out(tx: Transaction, task: str, queue: str, n: int) -> int:
    first = "FROM parked WHERE task = :task AND queue = :queue ORDER BY rank, seq, id LIMIT :n"
    values = {"task": task, "queue": queue, "n": n}
    moved = tx.run(f"INSERT OR IGNORE INTO ready SELECT {_ROW} {first}", values).rowcount
    tx.run(f"DELETE FROM parked WHERE (task, queue, rank, seq, id) IN (SELECT task, queue, rank, seq, id {first})", values)
    tx.count(queue, State.WAITING, -moved)
    tx.count(queue, State.READY, moved)
    return moved


def sweep_lines(tx: Transaction, after: str) -> tuple[int, str]:
    """Let in wherever there is room: what became ready by time, or stood for jobs that went without a lease.

    Looks at some lines, those past `after`. Returns how many jobs were let in, and past which line the next sweep begins.
    """
    tx.run("DELETE FROM held WHERE NOT live AND until <= ?", (tx.now,))
    values = {"after": after, "past": PAST_LINES, "limit": LINES_AT_ONCE}
    tasks = [task for (task,) in tx.run(_LINES, values)]
    moved = sum(unblock(tx, task.removeprefix(LINE)) for task in tasks)
    return moved, tasks[-1] if len(tasks) == LINES_AT_ONCE else BEFORE_LINES


def open_due(tx: Transaction, limit: int) -> int:
    """Let in where the time has come, by up to `limit` limits."""
    due = tx.run("SELECT gate FROM opening WHERE at <= ? ORDER BY at LIMIT ?", (tx.now, limit)).fetchall()
    return sum(unblock(tx, key) for (key,) in due)


def views(db: sqlite3.Connection, now: float, keys: Iterable[str]) -> list[LimitView | None]:
    found: list[LimitView | None] = []
    for key in keys:
        held = db.execute("SELECT count(*) FROM held WHERE gate = ? AND live", (key,)).fetchone()[0]
        holders = db.execute("SELECT id FROM held WHERE gate = ? AND live ORDER BY token LIMIT 10", (key,)).fetchall()
        started = db.execute("SELECT count(*) FROM held WHERE gate = ? AND until > 0 AND until > ?", (key, now)).fetchone()[
            0
        ]
        waiting = db.execute("SELECT count(*) FROM parked WHERE task = ?", (LINE + key,)).fetchone()[0]
        opening = db.execute("SELECT at FROM opening WHERE gate = ?", (key,)).fetchone()
        if held or started or waiting:
            ids = [job_id for (job_id,) in holders]
            found.append(LimitView(key, held, ids, waiting, started, opening[0] if opening else None))
        else:
            found.append(None)
    return found
