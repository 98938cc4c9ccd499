"""How jobs end: into `ended` with a number and a term, or out of the store."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from longboat.brokers.sqlite.following import unfollow
from longboat.brokers.sqlite.store import Transaction
from longboat.contract.broker import FORGOTTEN_AFTER
from longboat.core import codec
from longboat.core.job import DEFAULT_KEEP, FAILURES_KEPT, Failure, State
from longboat.errors import Undecodable


class EndedJob(NamedTuple):
    """A job on its way into `ended`, its row in another table gone already."""

    queue: str
    seq: int
    id: str
    started: float | None
    attempts: int
    failures: bytes | None
    keep: float


def end(tx: Transaction, state: State, endings: Iterable[EndedJob]) -> None:
    groups: defaultdict[tuple[str, float], list[EndedJob]] = defaultdict(list)
    for ending in endings:
        groups[ending.queue, ending.keep].append(ending)
    for (queue, keep), group in groups.items():
        first = number(tx, state, queue, len(group), keep)
        tx.db.executemany(
            "INSERT INTO ended VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, NULL)",
            [
                (state.value, queue, first + i, e.seq, e.id, tx.now, e.started, e.attempts, e.failures)
                for i, e in enumerate(group)
            ],
        )
        if state is State.CANCELLED:
            for e in group:
                unfollow(tx, "SELECT :seq, :id", {"seq": e.seq, "id": e.id})


def number(tx: Transaction, state: State, queue: str, n: int, keep: float, *, span: int = 0) -> int:
    """Take the next n numbers (or a `span`, to use n of it) for jobs that end together; returns the first.

    `keep`: how many seconds they are kept.
    """
    span = span or n
    last: int = tx.run("UPDATE numbers SET value = value + ? WHERE name = 'ended' RETURNING value", (span,)).fetchone()[0]
    first = last - span + 1
    tx.run("INSERT INTO terms VALUES (?, ?, ?, ?, ?)", (tx.now + keep, state.value, queue, first, last))
    tx.count(queue, state, n)
    return first


def forget(tx: Transaction, chosen: str, values: Mapping[str, Any]) -> None:
    """Delete messages: `chosen` is a SELECT of their (seq, id). Ids chosen by callers stay remembered for a while."""
    if tx.run("SELECT EXISTS (SELECT 1 FROM names)").fetchone()[0]:
        until = tx.now + FORGOTTEN_AFTER
        tx.run(f"UPDATE names SET until = :until WHERE id IN (SELECT id FROM ({chosen}))", {**values, "until": until})
    unfollow(tx, chosen, values)
    tx.run(f"DELETE FROM jobs WHERE (seq, id) IN ({chosen})", values)


def appended(failures: bytes | None, failure: Failure) -> bytes:
    """The recorded failures with one more: the newest FAILURES_KEPT."""
    if not failures:
        return codec.encode_failures([failure])
    return codec.encode_failures([*codec.decode_failures(failures), failure][-FAILURES_KEPT:])


def keep_of(tx: Transaction, seq: int, id: str) -> float:
    """Seconds that a job stays readable which is cancelled."""
    row = tx.run("SELECT body FROM jobs WHERE seq = ? AND id = ?", (seq, id)).fetchone()
    try:
        return cancelled_kept(codec.decode_job(row[0]).keep) if row else DEFAULT_KEEP
    except Undecodable:
        return DEFAULT_KEEP


def cancelled_kept(keep: float) -> float:
    """`keep` counts for successes: what was cancelled is told even of jobs whose results nobody keeps."""
    return keep or DEFAULT_KEEP
