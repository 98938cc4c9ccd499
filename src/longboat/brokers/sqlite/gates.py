"""Limits: who is let in is checked at the claim, and whoever is shut out stands in a line, parked under the limit's name."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from longboat import codec
from longboat.broker import Lease
from longboat.brokers.sqlite.following import NEVER, NO_REASON
from longboat.brokers.sqlite.store import Transaction
from longboat.errors import Undecodable
from longboat.inspector import GateView
from longboat.job import State
from longboat.ties import Gate

LINE = "\x00gate "
"""What the task of a line begins with; the limit's key follows."""
PAST_LINES = "\x00gate!"
LINES_AT_ONCE = 200
"""Lines that one sweep looks at, at most."""

_ROW = "queue, rank, seq, id, attempts, returns, expires_at, failures"


def let_in_or_shut_out(tx: Transaction, leases: Sequence[Lease]) -> list[Lease]:
    """Of these new leases, in order, those whose limits let them in: the others stand in line."""
    kept: list[Lease] = []
    for lease in leases:
        gates = lease.job.ties.gates if lease.job.ties else ()
        shut = next((gate for gate in gates if _room(tx, gate) <= 0), None)
        if shut is not None:
            _line_up(tx, lease, shut)
            continue
        for gate in gates:
            until = tx.now + gate.per if gate.starts is not None else 0.0
            tx.run(
                "INSERT OR REPLACE INTO held VALUES (?, ?, ?, ?, ?, 1)", (gate.key, lease.token, lease.job.id, tx.now, until)
            )
        kept.append(lease)
    return kept


def _room(tx: Transaction, gate: Gate) -> float:
    live, started = tx.run(
        "SELECT total(live), total(at > ?) FROM held WHERE gate = ?", (tx.now - gate.per, gate.key)
    ).fetchone()
    running = math.inf if gate.running is None else gate.running - live
    return min(running, math.inf if gate.starts is None else gate.starts - started)


def _line_up(tx: Transaction, lease: Lease, gate: Gate) -> None:
    queue = lease.job.queue
    tx.run(
        "INSERT INTO parked SELECT ?, queue, rank, seq, id, ?, ?, attempts, returns, expires_at, failures "
        "FROM leased WHERE token = ?",
        (LINE + gate.key, NEVER, NO_REASON, lease.token),
    )
    tx.run("DELETE FROM leased WHERE token = ?", (lease.token,))
    tx.count(queue, State.RUNNING, -1)
    tx.count(queue, State.WAITING, 1)
    _note_opening(tx, gate)


def _note_opening(tx: Transaction, gate: Gate) -> None:
    """Where time alone shuts it: when that is over."""
    if gate.starts is None:
        return
    row = tx.run(
        "SELECT at FROM held WHERE gate = ? AND at > ? ORDER BY at DESC LIMIT 1 OFFSET ?",
        (gate.key, tx.now - gate.per, gate.starts - 1),
    ).fetchone()
    if row is not None:
        tx.run("INSERT OR REPLACE INTO opening VALUES (?, ?)", (gate.key, row[0] + gate.per))


def leave(tx: Transaction) -> bool:
    """Leases have ended: what no longer stands in `leased` holds nothing. Whether others were let in."""
    if not tx.run("SELECT EXISTS (SELECT 1 FROM held WHERE live)").fetchone()[0]:
        return False
    gone = "live AND token NOT IN (SELECT token FROM leased)"
    keys = [key for (key,) in tx.run(f"SELECT DISTINCT gate FROM held WHERE {gone}")]
    if not keys:
        return False
    tx.run(f"UPDATE held SET live = 0 WHERE {gone}")
    tx.run("DELETE FROM held WHERE NOT live AND until <= ?", (tx.now,))
    return sum(let_in(tx, key) for key in keys) > 0


def let_in(tx: Transaction, key: str) -> bool:
    """Move from the front of each queue's line as many as there is room for. Whether any were."""
    task, moved = LINE + key, 0
    queues = [queue for (queue,) in tx.run("SELECT DISTINCT queue FROM parked WHERE task = ?", (task,))]
    tx.run("DELETE FROM opening WHERE gate = ?", (key,))
    for queue in queues:
        gate = _gate_of_first(tx, task, queue, key)
        room = _room(tx, gate) if gate is not None else math.inf
        if room > 0:
            moved += _step_out(tx, task, queue, int(min(room, 1_000_000)))
        if (
            gate is not None
            and tx.run("SELECT 1 FROM parked WHERE task = ? AND queue = ? LIMIT 1", (task, queue)).fetchone()
        ):
            _note_opening(tx, gate)
    return moved > 0


def _gate_of_first(tx: Transaction, task: str, queue: str, key: str) -> Gate | None:
    row = tx.run(
        "SELECT (SELECT body FROM jobs AS j WHERE j.seq = p.seq AND j.id = p.id) FROM parked AS p "
        "WHERE task = ? AND queue = ? ORDER BY rank, seq, id LIMIT 1",
        (task, queue),
    ).fetchone()
    try:
        ties = codec.decode_job(row[0]).ties
    except (Undecodable, TypeError):
        return None  # its claim will say what is wrong with it
    return next((gate for gate in ties.gates if gate.key == key), None) if ties else None


def _step_out(tx: Transaction, task: str, queue: str, n: int) -> int:
    first = "FROM parked WHERE task = ? AND queue = ? ORDER BY rank, seq, id LIMIT ?"
    moved = tx.run(f"INSERT OR IGNORE INTO ready SELECT {_ROW} {first}", (task, queue, n)).rowcount
    tx.run(
        f"DELETE FROM parked WHERE task = ? AND queue = ? AND (rank, seq, id) IN (SELECT rank, seq, id {first})",
        (task, queue, task, queue, n),
    )
    tx.count(queue, State.WAITING, -moved)
    tx.count(queue, State.READY, moved)
    return moved


def sweep_lines(tx: Transaction) -> int:
    """Let in wherever there is room: what became ready by time, or stood for jobs that went without a lease."""
    tx.run("DELETE FROM held WHERE NOT live AND until <= ?", (tx.now,))
    tasks = tx.run(
        "SELECT DISTINCT task FROM parked WHERE task >= ? AND task < ? LIMIT ?", (LINE, PAST_LINES, LINES_AT_ONCE)
    ).fetchall()
    return sum(let_in(tx, task.removeprefix(LINE)) for (task,) in tasks)


def open_due(tx: Transaction) -> int:
    """Let in where the time has come."""
    due = tx.run("SELECT gate FROM opening WHERE at <= ?", (tx.now,)).fetchall()
    return sum(let_in(tx, key) for (key,) in due)


def views(tx: Transaction, keys: Iterable[str]) -> list[GateView | None]:
    found: list[GateView | None] = []
    for key in keys:
        holders = [job_id for (job_id,) in tx.run("SELECT id FROM held WHERE gate = ? AND live ORDER BY token", (key,))]
        started = tx.run("SELECT count(*) FROM held WHERE gate = ? AND until > ?", (key, tx.now)).fetchone()[0]
        waiting = tx.run("SELECT count(*) FROM parked WHERE task = ?", (LINE + key,)).fetchone()[0]
        opening = tx.run("SELECT at FROM opening WHERE gate = ?", (key,)).fetchone()
        if holders or started or waiting:
            found.append(GateView(key, len(holders), holders[:10], waiting, started, opening[0] if opening else None))
        else:
            found.append(None)
    return found
