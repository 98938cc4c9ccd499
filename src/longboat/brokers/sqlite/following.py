"""Jobs that come after others: what they wait for, and their start once all of their parents have succeeded."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from longboat.brokers.sqlite import rows
from longboat.brokers.sqlite.packing import PIECE, as_json, packed
from longboat.brokers.sqlite.places import is_here, is_known, places_of
from longboat.brokers.sqlite.rows import Row
from longboat.brokers.sqlite.store import Transaction
from longboat.contract.broker import Lease
from longboat.core.job import Job, State
from longboat.errors import UnknownParent

PARENTS = "\x00parents"
"""What they wait for, in `waiting`: no task has such a name."""
NEVER = 1e15
"""When their patience ends."""
NO_REASON = b"\x90"

_DONE = "FROM json_each(:tokens) AS j CROSS JOIN longboat_leased AS l ON l.token = j.value"
_THEIRS = "e.parent_seq = l.seq AND e.parent = l.id"


def follow(tx: Transaction, job: Job, seq: int) -> int:
    """Store what a new job comes after; returns how many parents have not succeeded yet. Raises UnknownParent."""
    assert job.constraints is not None
    waiting = 0
    found = places_of(tx.db, job.constraints.after)
    for parent in dict.fromkeys(job.constraints.after):
        place = found.get(parent)
        if place is None or not is_here(tx, place, parent):
            raise UnknownParent(f"job {job.id} comes after {parent}, which is not known here")
        row = tx.run("SELECT state, result FROM longboat_ended WHERE seq = ? AND id = ?", (place, parent)).fetchone()
        if row is not None and row[0] == State.SUCCEEDED.value:
            tx.run("INSERT INTO longboat_inputs VALUES (?, ?, ?, ?)", (seq, job.id, parent, row[1] or b""))
        else:
            tx.run("INSERT INTO longboat_dependencies VALUES (?, ?, ?, ?)", (place, parent, seq, job.id))
            waiting += 1
    return waiting


def wait(tx: Transaction, row: Row, parents: int, delay: float) -> None:
    """The new job waits for so many parents, and starts `delay` seconds after the last of them."""
    rows.insert_waiting(tx, row, PARENTS, NEVER, NO_REASON)
    tx.run("INSERT INTO longboat_pending VALUES (?, ?, ?, ?)", (row.seq, row.id, parents, delay))


def any_dependencies(tx: Transaction) -> bool:
    return bool(tx.run("SELECT EXISTS (SELECT 1 FROM longboat_dependencies)").fetchone()[0])


def succeeded(tx: Transaction, results: Mapping[int, bytes]) -> bool:
    """These leases have succeeded, and still stand in `leased`. Returns whether others became ready, or scheduled."""
    values = {"tokens": as_json(list(results))}
    # CROSS JOIN fixes the order of the tables: left to itself SQLite may look at every dependency there is.
    counted = tx.run(
        "INSERT INTO longboat_pending SELECT e.child_seq, e.child, -count(*), 0 "
        f"{_DONE} CROSS JOIN longboat_dependencies AS e ON {_THEIRS} GROUP BY e.child_seq, e.child "
        "ON CONFLICT DO UPDATE SET parents = parents + excluded.parents",
        values,
    ).rowcount
    if counted <= 0:
        return False
    for keys, blob in packed(results.items()):
        tx.run(
            f"INSERT OR IGNORE INTO longboat_inputs SELECT e.child_seq, e.child, e.parent, {PIECE} "
            "FROM json_each(:keys) AS j CROSS JOIN longboat_leased AS l ON l.token = CAST(j.key AS INTEGER) "
            f"CROSS JOIN longboat_dependencies AS e ON {_THEIRS}",
            {"keys": keys, "blob": blob},
        )
    tx.run(f"DELETE FROM longboat_dependencies WHERE (parent_seq, parent) IN (SELECT l.seq, l.id {_DONE})", values)
    return _start_free(tx)


def forget_inputs(tx: Transaction, tokens: Collection[int]) -> None:
    """These jobs have succeeded or were cancelled: what they were given is not needed again."""
    if tokens:
        done = {"tokens": as_json(list(tokens))}
        tx.run(f"DELETE FROM longboat_inputs WHERE (child_seq, child) IN (SELECT l.seq, l.id {_DONE})", done)


def _start_free(tx: Transaction) -> bool:
    """Those that wait for no parent any more."""
    free = tx.run("SELECT seq, id, delay FROM longboat_pending WHERE parents <= 0").fetchall()
    for seq, job_id, delay in free:
        tx.run("DELETE FROM longboat_pending WHERE seq = ? AND id = ?", (seq, job_id))
        row = tx.run(f"SELECT {rows.COLUMNS} FROM longboat_waiting WHERE seq = ? AND id = ?", (seq, job_id)).fetchone()
        if row is not None:  # else it was cancelled, or purged
            rows.remove(tx, State.WAITING, Row(*row))
            rows.insert(tx, Row(*row), delay)
    return bool(free)


def give_inputs(tx: Transaction, leases: Iterable[Lease]) -> None:
    """The results of the parents, for those that have some."""
    for lease in leases:
        constraints = lease.job.constraints
        if constraints is None or not constraints.after:
            continue
        results = tx.run(
            "SELECT i.parent, i.result FROM longboat_leased AS l "
            "CROSS JOIN longboat_inputs AS i ON i.child_seq = l.seq AND i.child = l.id WHERE l.token = ?",
            (lease.token,),
        )
        found: dict[str, bytes] = dict(results)
        lease.inputs = [found.get(parent, b"") for parent in constraints.after]


def unfollow(tx: Transaction, chosen: str, values: Mapping[str, Any]) -> None:
    """These jobs wait for nothing any more: `chosen` is a SELECT of their (seq, id)."""
    if tx.run("SELECT EXISTS (SELECT 1 FROM longboat_dependencies) OR EXISTS (SELECT 1 FROM longboat_inputs)").fetchone()[0]:
        tx.run(f"DELETE FROM longboat_dependencies WHERE (child_seq, child) IN ({chosen})", values)
        tx.run(f"DELETE FROM longboat_inputs WHERE (child_seq, child) IN ({chosen})", values)
        tx.run(f"DELETE FROM longboat_pending WHERE (seq, id) IN ({chosen})", values)


def is_followed(tx: Transaction, seq: int, id: str) -> bool:
    """Whether others come after this job."""
    sql = "SELECT EXISTS (SELECT 1 FROM longboat_dependencies WHERE parent_seq = ? AND parent = ?)"
    return bool(tx.run(sql, (seq, id)).fetchone()[0])


def check_order(tx: Transaction, jobs: Sequence[Job]) -> None:
    """Raises UnknownParent for a new job with a parent behind it in its batch that is not known. Before they are stored."""
    ids, before = {job.id for job in jobs}, set[str]()
    for job in jobs:
        after = job.constraints.after if job.constraints else ()
        behind = [parent for parent in after if parent in ids and parent not in before]
        before.add(job.id)
        if not behind or is_known(tx, job.id):
            continue
        found = places_of(tx.db, behind)
        for parent in behind:
            if parent not in found or not is_here(tx, found[parent], parent):
                raise UnknownParent(f"job {job.id} comes after {parent}, which stands behind it in the batch")
