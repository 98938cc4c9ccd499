"""Claiming where jobs have limits: those with room are leased, the others are blocked, by several statements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from longboat.brokers.postgres import limits
from longboat.brokers.postgres.claim import LEASED, Claim, Claimed, decoded
from longboat.brokers.postgres.dependencies import with_inputs
from longboat.brokers.postgres.names import raw
from longboat.brokers.postgres.rows import FIELDS, JobRow, at_places, insert, places_of, take_these
from longboat.brokers.postgres.store import Transaction
from longboat.contract.broker import Lease
from longboat.core import codec
from longboat.core.constraints import JobLimit
from longboat.core.job import Job, State
from longboat.errors import Undecodable

AT_ONCE = 100
"""Jobs that one transaction looks at, once some were found blocked."""

_CANDIDATES = f"""
    SELECT j.id, j.body, {FIELDS} FROM (
        SELECT * FROM @.ready
        WHERE queue = %(queue)b AND (expires_at IS NULL OR expires_at > %(at)s)
            AND EXISTS (SELECT 1 FROM @.consumers WHERE n = %(consumer)s AND floor < %(number)s)
        ORDER BY queue, rank, place LIMIT %(n)s FOR UPDATE SKIP LOCKED) AS r
    LEFT JOIN LATERAL (SELECT id, body FROM @.jobs WHERE place = r.place OFFSET 0) AS j ON TRUE
    ORDER BY rank, place"""

_LEASE = f"""
    WITH t AS (SELECT %(at)s::float8 AS now),
    picked AS MATERIALIZED (
        DELETE FROM @.ready WHERE ctid = ANY (ARRAY({at_places("ready", "ctid", "")})) RETURNING {FIELDS}),
    {LEASED}
    SELECT place, token FROM numbered"""


class _Candidate(NamedTuple):
    row: JobRow
    job: Job | None
    """None: the message cannot be read, and `why`."""
    own: Sequence[JobLimit] = ()
    """The job's limits."""
    limits: Sequence[JobLimit] = ()
    """The same with their present numbers."""
    why: str = ""


class _Room:
    """The room of each key, as jobs are leased. All keys are locked."""

    def __init__(self, tx: Transaction, candidates: Sequence[_Candidate]) -> None:
        wanted = [limit for candidate in candidates for limit in candidate.limits]
        self._running = limits.lock(tx, {raw(limit.key) for limit in wanted}) if wanted else {}
        windows = {(raw(limit.key), limit.per) for limit in wanted if limit.starts is not None}
        self.now, self._started = limits.started(tx, windows) if windows else (tx.now, {})
        self.starts: list[tuple[bytes, float]] = []
        """To be counted: key, and seconds that it counts."""

    def blocking(self, its: Sequence[JobLimit]) -> JobLimit | None:
        """The first of these that has no room."""
        return next((limit for limit in its if not self._has_room(limit)), None)

    def _has_room(self, limit: JobLimit) -> bool:
        key = raw(limit.key)
        if limit.running is not None and self._running[key] >= limit.running:
            return False
        return limit.starts is None or self._started[key, limit.per] < limit.starts

    def enter(self, its: Sequence[JobLimit]) -> None:
        for key in {raw(limit.key) for limit in its}:
            self._running[key] += 1
        for limit in its:
            if limit.starts is not None:
                self.starts.append((raw(limit.key), limit.per))
                for window in self._started:
                    self._started[window] += window[0] == raw(limit.key)

    @property
    def timed(self) -> set[bytes]:
        """Keys that time may block."""
        return {key for key, _ in self._started}


def claim_round(tx: Transaction, its: Claim, n: int, at_once: int) -> Claimed:
    """Lease up to `n` of the first `at_once` ready jobs of the queue, in order, and block those without room among them."""
    tx.run("SELECT 1 FROM @.consumers WHERE n = %(consumer)s FOR KEY SHARE", consumer=its.consumer)
    rows = tx.run(_CANDIDATES, at=tx.now, n=at_once, **its._asdict()).fetchall()
    candidates = _at_present(tx, [_candidate(job_id, body, JobRow(*fields)) for job_id, body, *fields in rows])
    room = _Room(tx, candidates)
    taken: list[_Candidate] = []
    blocked: list[tuple[_Candidate, JobLimit]] = []
    for candidate in candidates:
        if len(taken) == n:
            # for those that stay: other claims may have passed them over while they were locked
            tx.notify_ready(min(each.row.place for each in candidates[len(taken) + len(blocked) :]))
            break
        if limit := room.blocking(candidate.limits):
            blocked.append((candidate, candidate.own[candidate.limits.index(limit)]))
        else:
            room.enter(candidate.limits)
            taken.append(candidate)
    tokens = _lease(tx, its, taken, room)
    _block(tx, blocked)
    if room.timed:
        limits.watch(tx, room.timed)
    leases, bad = [], []
    for row, job, *_, why in taken:
        token = tokens[row.place]
        if job is None:
            bad.append((token, why))
        else:
            leases.append(Lease(job, row.attempts + 1, token, row.worker_deaths, len(codec.decode_failures(row.failures))))
    return Claimed(with_inputs(tx.run, leases), bad, len(blocked), any(candidate.limits for candidate in candidates))


def _candidate(job_id: bytes | None, body: bytes | None, row: JobRow) -> _Candidate:
    try:
        job = decoded(job_id, body, row.queue)
    except Undecodable as error:
        return _Candidate(row, None, why=str(error))
    return _Candidate(row, job, job.constraints.limits if job.constraints else ())


def _at_present(tx: Transaction, candidates: Sequence[_Candidate]) -> Sequence[_Candidate]:
    present = limits.present(tx, {limit for candidate in candidates for limit in candidate.own})
    return [each._replace(limits=[present[limit] for limit in each.own]) for each in candidates]


def _lease(tx: Transaction, its: Claim, taken: Sequence[_Candidate], room: _Room) -> dict[int, int]:
    """Returns their tokens by place."""
    if not taken:
        return {}
    values = {"at": room.now, **places_of(candidate.row for candidate in taken), **its._asdict()}
    tokens: dict[int, int] = dict(tx.run(_LEASE, **values).fetchall())
    tx.count(its.queue, State.READY, -len(taken))
    tx.count(its.queue, State.RUNNING, len(taken))
    leases = [
        (key, tokens[candidate.row.place], candidate.row.place)
        for candidate in taken
        for key in {raw(limit.key) for limit in candidate.limits}
    ]
    if leases:
        limits.enter(tx, leases)
    if room.starts:
        limits.start(tx, room.starts, room.now)
    return tokens


def _block(tx: Transaction, blocked: Sequence[tuple[_Candidate, JobLimit]]) -> None:
    if not blocked:
        return
    rows = [candidate.row for candidate, _ in blocked]
    take_these(tx, "ready", rows)
    insert(
        tx,
        "blocked",
        rows,
        key=[raw(limit.key) for _, limit in blocked],
        running=[limit.running for _, limit in blocked],
        starts=[limit.starts for _, limit in blocked],
        per=[float(limit.per) for _, limit in blocked],
        name=[raw(limit.name) for _, limit in blocked],
    )
