"""The place of a job in time, `seq`: the first half of a generated id, or what `places` keeps for the id."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from longboat.brokers.sqlite.store import Transaction
from longboat.core.job import new_id, order_of

_ROUND = 1 << 14
"""Places that one round of fairness keys has, about 4 µs of time: so many keys have a place of their own in it."""


def places_of(db: sqlite3.Connection, ids: Iterable[str]) -> dict[str, int]:
    """The places of the jobs with these ids; `places` has those of ids chosen by callers and of jobs with a fairness key."""
    found = {}
    fairness = bool(db.execute("SELECT EXISTS (SELECT 1 FROM longboat_fairness)").fetchone()[0])
    for job_id in ids:
        seq = order_of(job_id)
        if seq is None or fairness:
            row = db.execute("SELECT seq FROM longboat_places WHERE id = ?", (job_id,)).fetchone()
            seq = row[0] if row else seq
        if seq is not None:
            found[job_id] = seq
    return found


def is_here(tx: Transaction, seq: int, id: str) -> bool:
    return bool(tx.run("SELECT EXISTS (SELECT 1 FROM longboat_jobs WHERE seq = ? AND id = ?)", (seq, id)).fetchone()[0])


def is_known(tx: Transaction, id: str) -> bool:
    """Whether it is the id of a job that is here, or was not long ago."""
    row = tx.run("SELECT until FROM longboat_places WHERE id = ?", (id,)).fetchone()
    if row is not None and (row[0] is None or row[0] > tx.now):
        return True
    generated = order_of(id)
    return generated is not None and is_here(tx, generated, id)


def new_place(tx: Transaction, id: str, queue: str, rank: int, fairness_key: str) -> int:
    """The place of a new job, kept in `places` where its id does not tell it."""
    generated = order_of(id)
    place = order_of(new_id()) if generated is None else generated
    assert place is not None
    if fairness_key:
        place = _fair_place(tx, place, (queue, rank, fairness_key))
    if place != generated:
        tx.run("INSERT OR REPLACE INTO longboat_places VALUES (?, ?, NULL)", (id, place))
    return place


def _fair_place(tx: Transaction, now: int, name: tuple[str, int, str]) -> int:
    """As many rounds behind the queue's first job as its key has jobs waiting, as the last of that round: keys alternate."""
    last = tx.run("SELECT seq FROM longboat_fairness WHERE queue = ? AND rank = ? AND fairness_key = ?", name).fetchone()
    first = tx.run("SELECT seq FROM longboat_ready WHERE queue = ? AND rank = ? ORDER BY seq LIMIT 1", name[:2]).fetchone()
    place: int = first[0] if first else now
    if last and last[0] // _ROUND >= place // _ROUND:
        place = (last[0] // _ROUND + 1) * _ROUND
    if first:
        # Jobs of one round need places of their own: with one place for all, looking for one would find them all.
        end = (place // _ROUND + 1) * _ROUND
        sql = "SELECT max(seq) FROM longboat_ready WHERE queue = ? AND rank = ? AND seq < ?"
        newest: int = tx.run(sql, (*name[:2], end)).fetchone()[0]
        place = max(place, min(newest + 1, end - 1))
    tx.run("INSERT OR REPLACE INTO longboat_fairness VALUES (?, ?, ?, ?)", (*name, place))
    return place
