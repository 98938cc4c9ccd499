"""How jobs end: into `ended`, with a number and a time to be kept until; or out of the store."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from longboat.brokers.sqlite import rows
from longboat.brokers.sqlite.following import unfollow
from longboat.brokers.sqlite.rows import Row
from longboat.brokers.sqlite.store import Transaction
from longboat.contract.base_keep import kept_for
from longboat.contract.broker import FORGOTTEN_AFTER
from longboat.core import codec
from longboat.core.job import DEFAULT_KEEP, FAILURES_KEPT, Failure, State
from longboat.core.views import job_or_none


class EndedJob(NamedTuple):
    """A job on its way into `ended`; its row in another table is gone already."""

    queue: str
    seq: int
    id: str
    started: float | None
    attempts: int
    failures: bytes | None


def end(tx: Transaction, state: State, endings: Iterable[EndedJob]) -> None:
    groups: defaultdict[tuple[str, float], list[EndedJob]] = defaultdict(list)
    for ending in endings:
        groups[ending.queue, _kept(tx, state, ending)].append(ending)
    for (queue, keep), group in groups.items():
        first = take_numbers(tx, state, queue, len(group), keep)
        tx.db.executemany(
            "INSERT INTO longboat_ended VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, NULL)",
            [
                (state.value, queue, first + i, e.seq, e.id, tx.now, e.started, e.attempts, e.failures)
                for i, e in enumerate(group)
            ],
        )
        if state is State.CANCELLED:
            for e in group:
                unfollow(tx, "SELECT :seq, :id", {"seq": e.seq, "id": e.id})


def end_unleased(
    tx: Transaction, where: State, jobs: Sequence[Row], state: State, why: Callable[[Row], Iterable[Failure]]
) -> None:
    """These jobs, which stand in the table of the state `where`, end for the failures that `why` gives."""
    for row in jobs:
        rows.remove(tx, where, row)
    ended = [EndedJob(row.queue, row.seq, row.id, None, row.attempts, appended(row.failures, *why(row))) for row in jobs]
    end(tx, state, ended)


def take_numbers(tx: Transaction, state: State, queue: str, n: int, keep: float, *, span: int = 0) -> int:
    """Take the next n numbers (or a `span`, to use n of it) for jobs that end together; returns the first.

    `keep`: how many seconds they are kept.
    """
    span = span or n
    last: int = tx.run(
        "UPDATE longboat_numbers SET value = value + ? WHERE name = 'ended' RETURNING value", (span,)
    ).fetchone()[0]
    first = last - span + 1
    tx.run("INSERT INTO longboat_kept VALUES (?, ?, ?, ?, ?)", (tx.now + keep, state.value, queue, first, last))
    tx.count(queue, state, n)
    return first


def forget(tx: Transaction, chosen: str, values: Mapping[str, Any]) -> None:
    """Delete messages: `chosen` is a SELECT of their (seq, id). Ids chosen by callers stay remembered for a while."""
    if tx.run("SELECT EXISTS (SELECT 1 FROM longboat_places)").fetchone()[0]:
        until = tx.now + FORGOTTEN_AFTER
        tx.run(
            f"UPDATE longboat_places SET until = :until WHERE id IN (SELECT id FROM ({chosen}))", {**values, "until": until}
        )
    unfollow(tx, chosen, values)
    tx.run(f"DELETE FROM longboat_jobs WHERE (seq, id) IN ({chosen})", values)


def appended(failures: bytes | None, *more: Failure) -> bytes | None:
    """The recorded failures and these: the newest FAILURES_KEPT."""
    if not more:
        return failures
    return codec.encode_failures([*codec.decode_failures(failures), *more][-FAILURES_KEPT:])


def _kept(tx: Transaction, state: State, ending: EndedJob) -> float:
    if state is State.DEAD:
        return kept_for(state, DEFAULT_KEEP)
    row = tx.run("SELECT message FROM longboat_jobs WHERE seq = ? AND id = ?", (ending.seq, ending.id)).fetchone()
    job = job_or_none(row[0]) if row else None
    return kept_for(state, job.keep if job else DEFAULT_KEEP)
