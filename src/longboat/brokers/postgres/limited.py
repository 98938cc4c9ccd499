"""Claiming where jobs have limits: those that are let in are leased, those shut out go into their lines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from longboat.brokers.postgres import limits
from longboat.brokers.postgres.following import with_inputs
from longboat.brokers.postgres.moving import FIELDS
from longboat.brokers.postgres.names import raw
from longboat.brokers.postgres.transaction import Transaction
from longboat.contract.broker import Lease
from longboat.core import codec
from longboat.core.constraints import JobLimit
from longboat.core.job import Job, State
from longboat.errors import Undecodable

AT_ONCE = 100
"""Jobs looked at by one transaction, once some were found shut out."""

_CANDIDATES = """
    SELECT r.place, r.rank, r.attempts, r.returns, r.failures, j.id, j.body FROM (
        SELECT * FROM @.ready
        WHERE queue = %(queue)b AND (expires_at IS NULL OR expires_at > %(at)s)
            AND EXISTS (SELECT 1 FROM @.consumers WHERE n = %(consumer)s AND floor < %(claim)s)
        ORDER BY queue, rank, place LIMIT %(n)s FOR UPDATE SKIP LOCKED) AS r
    LEFT JOIN LATERAL (SELECT id, body FROM @.jobs WHERE place = r.place OFFSET 0) AS j ON TRUE
    ORDER BY r.rank, r.place"""

_TAKEN = f"""
    taken AS MATERIALIZED (
        DELETE FROM @.ready WHERE ctid = ANY (ARRAY(
            SELECT r.ctid FROM unnest(%(places)b::bigint[], %(ranks)b::bigint[]) AS g (place, rank) CROSS JOIN LATERAL (
                SELECT ctid FROM @.ready WHERE queue = %(queue)b AND rank = g.rank AND place = g.place OFFSET 0) AS r))
        RETURNING {FIELDS})"""
_LEASE = f"""
    WITH {_TAKEN},
    numbered AS MATERIALIZED (
        SELECT nextval('@.tokens') AS token, p.* FROM (SELECT * FROM taken ORDER BY rank, place) AS p),
    held AS (
        INSERT INTO @.leased (token, consumer, claim, started, cancel, since, {FIELDS})
        SELECT token, %(consumer)s, %(claim)s, FALSE, FALSE, %(at)s, {FIELDS} FROM numbered)
    SELECT token, place FROM numbered"""
_LINE_UP = f"""
    WITH {_TAKEN}
    INSERT INTO @.lined (key, running, starts, per, {FIELDS})
    SELECT g.key, g.running, g.starts, g.per, t.* FROM taken AS t JOIN unnest(%(places)b::bigint[], %(keys)b::bytea[],
        %(running)b::int[], %(starts)b::int[], %(pers)b::float8[]) AS g (place, key, running, starts, per)
    ON g.place = t.place"""


class Claim(NamedTuple):
    """Who claims of which queue; `claim` is the consumer's own number of it."""

    consumer: int
    claim: int
    queue: bytes


class _CandidateRow(NamedTuple):
    place: int
    rank: int
    attempts: int
    worker_deaths: int
    failures: bytes | None
    id: bytes | None
    body: bytes | None


class Candidate(NamedTuple):
    row: _CandidateRow
    job: Job | None
    """None: it is no job, and `why`."""
    why: str = ""

    @property
    def limits(self) -> Sequence[JobLimit]:
        return self.job.constraints.limits if self.job and self.job.constraints else ()


class Round(NamedTuple):
    """What one transaction came to."""

    leases: list[Lease]
    bad: list[tuple[int, str]]
    """Tokens of what is no job, and why."""
    shut: int
    """So many were shut out."""
    limited: bool
    """Some of those looked at have limits."""


class _Doors:
    """The room that there is for each key, all of which are locked, as jobs go in."""

    def __init__(self, tx: Transaction, candidates: Sequence[Candidate]) -> None:
        wanted = [limit for candidate in candidates for limit in candidate.limits]
        self._held = limits.lock(tx, {raw(limit.key) for limit in wanted}) if wanted else {}
        windows = {(raw(limit.key), limit.per) for limit in wanted if limit.starts is not None}
        self.now, self._started = limits.started(tx, windows) if windows else (tx.now, {})
        self.begun: list[tuple[bytes, float]] = []

    def shut(self, its: Sequence[JobLimit]) -> JobLimit | None:
        """The first of these that has no room."""
        return next((limit for limit in its if not self._has_room(limit)), None)

    def _has_room(self, limit: JobLimit) -> bool:
        key = raw(limit.key)
        if limit.running is not None and self._held[key] >= limit.running:
            return False
        return limit.starts is None or self._started[key, limit.per] < limit.starts

    def enter(self, its: Sequence[JobLimit]) -> None:
        for key in {raw(limit.key) for limit in its}:
            self._held[key] += 1
        for limit in its:
            if limit.starts is not None:
                self.begun.append((raw(limit.key), limit.per))
                for window in self._started:
                    self._started[window] += window[0] == raw(limit.key)

    @property
    def timed(self) -> set[bytes]:
        """Keys that time may shut."""
        return {key for key, _ in self._started}


def claim_round(tx: Transaction, claim: Claim, n: int, at_once: int) -> Round:
    """Lease up to `n` of the first `at_once` ready jobs of the queue, in order, and shut out those before them."""
    tx.run("SELECT 1 FROM @.consumers WHERE n = %(consumer)s FOR KEY SHARE", consumer=claim.consumer)
    rows = tx.run(_CANDIDATES, at=tx.now, n=at_once, **claim._asdict()).fetchall()
    candidates = [_candidate(_CandidateRow(*row), claim.queue) for row in rows]
    doors = _Doors(tx, candidates)
    taken: list[Candidate] = []
    shut: list[tuple[Candidate, JobLimit]] = []
    for candidate in candidates:
        if len(taken) == n:
            tx.tell("c")  # those that were locked and are left: others may have passed them over
            break
        if limit := doors.shut(candidate.limits):
            shut.append((candidate, limit))
        else:
            doors.enter(candidate.limits)
            taken.append(candidate)
    tokens = _lease(tx, claim, taken, doors)
    _line_up(tx, claim.queue, shut)
    if doors.timed:
        limits.watch(tx, doors.timed)
    leases, bad = [], []
    for token, (row, job, why) in zip(tokens, taken, strict=True):
        if job is None:
            bad.append((token, why))
        else:
            leases.append(Lease(job, row.attempts + 1, token, row.worker_deaths, len(codec.decode_failures(row.failures))))
    return Round(with_inputs(tx.run, leases), bad, len(shut), any(candidate.limits for candidate in candidates))


def _candidate(row: _CandidateRow, queue: bytes) -> Candidate:
    try:
        return Candidate(row, decoded(row.id, row.body, queue))
    except Undecodable as error:
        return Candidate(row, None, str(error))


def decoded(stored_id: bytes | None, body: bytes | None, queue: bytes) -> Job:
    """The job that stands at a place of this queue. Raises Undecodable, also where it is another one."""
    if body is None:
        raise Undecodable("the message is missing")
    job = codec.decode_job(body)
    if raw(job.id) != stored_id or raw(job.queue) != queue:
        raise Undecodable(f"the message is of another job: {job.id!r} of queue {job.queue!r}")
    return job


def _lease(tx: Transaction, claim: Claim, taken: Sequence[Candidate], doors: _Doors) -> list[int]:
    """Returns the tokens."""
    if not taken:
        return []
    rows = tx.run(_LEASE, at=doors.now, **_places(taken), **claim._asdict()).fetchall()
    by_place = {place: token for token, place in rows}
    tx.count(claim.queue, State.READY, -len(taken))
    tx.count(claim.queue, State.RUNNING, len(taken))
    held = [
        (key, by_place[candidate.row.place], candidate.row.place)
        for candidate in taken
        for key in {raw(limit.key) for limit in candidate.limits}
    ]
    if held:
        limits.enter(tx, held)
    if doors.begun:
        limits.start(tx, doors.begun, doors.now)
    return [by_place[candidate.row.place] for candidate in taken]


def _line_up(tx: Transaction, queue: bytes, shut: Sequence[tuple[Candidate, JobLimit]]) -> None:
    if not shut:
        return
    tx.run(
        _LINE_UP,
        queue=queue,
        keys=[raw(limit.key) for _, limit in shut],
        running=[limit.running for _, limit in shut],
        starts=[limit.starts for _, limit in shut],
        pers=[float(limit.per) for _, limit in shut],
        **_places([candidate for candidate, _ in shut]),
    )
    tx.count(queue, State.READY, -len(shut))
    tx.count(queue, State.WAITING, len(shut))


def _places(candidates: Sequence[Candidate]) -> dict[str, list[int]]:
    return {"places": [each.row.place for each in candidates], "ranks": [each.row.rank for each in candidates]}
