"""Settling: what became of leases, any mixture of outcomes in one transaction; successes alike are one statement."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

from longboat.brokers.postgres import limits
from longboat.brokers.postgres.constrained import is_constrained
from longboat.brokers.postgres.ending import WALL, EndedJob, appended, cancelled_kept, end, forget
from longboat.brokers.postgres.following import NONE_AWAITED, NOT_AWAITED, let_go
from longboat.brokers.postgres.moving import ROWS, columns, make_ready, make_scheduled
from longboat.brokers.postgres.names import raw
from longboat.brokers.postgres.store import Store
from longboat.brokers.postgres.transaction import NOW, Connection, Transaction
from longboat.contract.broker import DEAD_KEPT, FORGOTTEN_AFTER, Lease, Settlement
from longboat.core.codec import encode_failures
from longboat.core.job import Cancelled, Dead, Done, Failure, Park, Release, Retry, State
from longboat.core.reasons import CANCELLED

_ME = "me AS MATERIALIZED (SELECT n FROM @.consumers WHERE n = %(consumer)s FOR KEY SHARE)"
"""SQL: who ends the consumer waits for this, or this finds it ended: nobody locks the leases in another order."""

_GONE = """
    gone AS MATERIALIZED (
        DELETE FROM @.leased WHERE token = ANY(%(tokens)b::bigint[]) AND consumer = (SELECT n FROM me) {but}
        RETURNING token, place, queue, rank, since, attempts, returns, expires_at, failures, cancel)"""
_ALL = _GONE.format(but="")
_FREE = _GONE.format(but=f"AND followed IS NULL AND {NONE_AWAITED}")
"""Those that no job waits for, if none waits for any. Who puts one after these meanwhile marks them (following.py)."""
_FREE_BESIDE = _GONE.format(but=f"AND followed IS NULL AND {NOT_AWAITED.format(place='leased.place')}")
"""Those that no job waits for, where some wait for others: it costs a little more."""

_SUCCEED = f"""
    WITH t AS MATERIALIZED (SELECT {NOW} AS now), {_ME}, {{gone}},
    e AS MATERIALIZED (SELECT nextval('@.endings') AS n),
    term AS (
        INSERT INTO @.terms SELECT t.now + %(keep)s, 'succeeded', %(queue)b, e.n FROM t, e
        WHERE EXISTS (SELECT 1 FROM gone)),
    kept AS (
        INSERT INTO @.ended
        SELECT 'succeeded', %(queue)b, e.n, gone.place, t.now, since, attempts + 1, failures, {{result}}
        FROM {{source}} CROSS JOIN t CROSS JOIN e),
    counted AS (
        INSERT INTO @.counts
        SELECT %(queue)b::bytea, s.state, s.sign * c.n FROM (SELECT count(*) AS n FROM gone) AS c,
            (VALUES ('running', -1), ('succeeded', 1)) AS s (state, sign) WHERE c.n > 0),
    told AS MATERIALIZED (
        SELECT pg_notify(%(channel)s, 'e' || string_agg(place::text, ',')) FROM
            (SELECT place, (row_number() OVER ()) / 400 AS part FROM gone) AS p
        WHERE EXISTS (SELECT 1 FROM @.watchers WHERE until > {WALL}) GROUP BY part)
    SELECT ARRAY(SELECT token FROM gone), (SELECT count(*) FROM told)"""
_ALIKE = {"result": "%(result)b", "source": "gone"}
"""For functions that return nothing, as most do."""
_EACH = {
    "result": "r.result",
    "source": "gone JOIN unnest(%(tokens)b::bigint[], %(results)b::bytea[]) AS r (token, result) ON r.token = gone.token",
}
_FORGET = f"""
    WITH t AS MATERIALIZED (SELECT {NOW} AS now), {_ME}, {{gone}},
    remembered AS (
        UPDATE @.jobs AS j SET body = NULL, until = (SELECT now FROM t) + {FORGOTTEN_AFTER}
        WHERE j.place = ANY (ARRAY(SELECT place FROM gone)) AND j.chosen),
    deleted AS (DELETE FROM @.jobs AS j WHERE j.place = ANY (ARRAY(SELECT place FROM gone)) AND NOT j.chosen),
    counted AS (
        INSERT INTO @.counts SELECT %(queue)b::bytea, 'running', -count(*) FROM gone HAVING count(*) > 0)
    SELECT ARRAY(SELECT token FROM gone), 0"""
_PLAIN, _BESIDE = (
    (_FORGET.format(gone=gone), _SUCCEED.format(gone=gone, **_ALIKE), _SUCCEED.format(gone=gone, **_EACH))
    for gone in (_FREE, _FREE_BESIDE)
)
"""The statements for results that nobody keeps, that are alike, and that differ."""


_PLAIN_AGAIN = 0.5
"""Seconds between tries of the quicker statement while it is of no use."""


class _LeasedRow(NamedTuple):
    """A lease that is settled, as the server knew it."""

    token: int
    place: int
    queue: bytes
    rank: int
    since: float
    attempts: int
    worker_deaths: int
    expires_at: float | None
    failures: bytes | None
    cancel: bool


def settle(store: Store, consumer: int, settlements: Sequence[Settlement], started: Sequence[Lease]) -> list[Lease]:
    """Returns the refused leases."""
    ours: dict[int, Settlement] = {}
    refused: list[Lease] = []
    for settlement in settlements:
        if ours.setdefault(settlement.lease.token, settlement) is not settlement:
            refused.append(settlement.lease)
    done: defaultdict[tuple[str, float], dict[int, bytes]] = defaultdict(dict)
    others: dict[int, Settlement] = {}
    for token, settlement in ours.items():
        job = settlement.lease.job
        if type(settlement.outcome) is Done and (job.constraints is None or not is_constrained(job)):
            done[job.queue, job.keep][token] = settlement.outcome.result
        else:
            others[token] = settlement
    if len(done) == 1 and not others and not started:
        ((queue, keep), results) = next(iter(done.items()))
        held = store.use(lambda link: _succeed(store, link, consumer, queue, keep, results))
        if left := {token: settlement for token, settlement in ours.items() if token not in held}:
            held |= store.write(lambda tx: _SettleBatch(tx, consumer).settle(left))
        return refused + [settlement.lease for token, settlement in ours.items() if token not in held]

    def all_of_it(tx: Transaction) -> list[Lease]:
        noted = _entry(tx, consumer, started)
        held: set[int] = set()
        for (queue, keep), results in done.items():
            held |= _succeed(store, tx.link, consumer, queue, keep, results)
        if left := {token: settlement for token, settlement in ours.items() if token not in held}:
            held |= _SettleBatch(tx, consumer).settle(left)
        lost = [settlement.lease for token, settlement in ours.items() if token not in held]
        return refused + lost + [lease for lease in started if lease.token not in noted]

    return store.write(all_of_it)


def _succeed(store: Store, link: Connection, consumer: int, queue: str, keep: float, results: dict[int, bytes]) -> set[int]:
    """Returns the tokens of those that were the consumer's, and that nobody waits for."""
    values: dict[str, Any] = {"consumer": consumer, "queue": raw(queue), "keep": float(keep), "tokens": list(results)}
    values["channel"] = store.channel
    if keep <= 0:
        which = 0
    elif len(alike := set(results.values())) == 1:
        which, values["result"] = 1, alike.pop()
    else:
        which, values["results"] = 2, list(results.values())
    if not store.is_beside:
        if held := store.run(link, _PLAIN[which], values).fetchone()[0]:
            return set(held)
        store.is_beside = True
    held = store.run(link, _BESIDE[which], values).fetchone()[0]
    if store.due("plain", _PLAIN_AGAIN):
        store.is_beside = False
    return set(held)


def _entry(tx: Transaction, consumer: int, started: Sequence[Lease]) -> set[int]:
    """Returns the tokens of those that are the consumer's."""
    if not started:
        return set()
    rows = tx.run(
        f"WITH {_ME} UPDATE @.leased SET started = TRUE "
        "WHERE token = ANY(%(tokens)b::bigint[]) AND consumer = (SELECT n FROM me) RETURNING token",
        consumer=consumer,
        tokens=sorted({lease.token for lease in started}),
    )
    return {token for (token,) in rows.fetchall()}


class _SettleBatch:
    """Leases sorted by what becomes of them, so that each kind is one statement."""

    def __init__(self, tx: Transaction, consumer: int) -> None:
        self._tx = tx
        self._consumer = consumer
        self._ended: defaultdict[State, list[EndedJob]] = defaultdict(list)
        self._ready: list[_LeasedRow] = []
        self._delayed: list[tuple[float, _LeasedRow]] = []
        self._parked: list[tuple[bytes, float, bytes, _LeasedRow]] = []
        self._results: dict[int, bytes] = {}
        """Of those that succeeded, by place."""
        self._forgotten: list[int] = []

    def settle(self, settlements: dict[int, Settlement]) -> set[int]:
        rows = self._tx.run(
            f"WITH {_ME}, {_ALL} SELECT * FROM gone ORDER BY place",
            consumer=self._consumer,
            tokens=list(settlements),
        ).fetchall()
        held: set[int] = set()
        for row in (_LeasedRow(*row) for row in rows):
            held.add(row.token)
            self._tx.count(row.queue, State.RUNNING, -1)
            self._sort(row, settlements[row.token])
        for state, endings in self._ended.items():
            end(self._tx, state, endings)
        forget(self._tx, self._forgotten, [None] * len(self._forgotten))
        if self._results:
            let_go(self._tx, self._results)
        make_ready(self._tx, self._ready)
        make_scheduled(self._tx, self._delayed)
        self._park()
        limits.leave(self._tx, sorted(held))
        return held

    def _sort(self, row: _LeasedRow, settlement: Settlement) -> None:
        job, outcome, failures, now = settlement.lease.job, settlement.outcome, row.failures, self._tx.now
        kept = cancelled_kept(job.keep)
        match outcome:
            case Done(result):
                self._results[row.place] = result
                if job.keep > 0:
                    made = EndedJob(row.place, row.queue, row.since, row.attempts + 1, failures, job.keep, result)
                    self._ended[State.SUCCEEDED].append(made)
                else:
                    self._forgotten.append(row.place)
            case Dead(failure, counted):
                self._end(State.DEAD, row, counted, appended(failures, failure), DEAD_KEPT)
            case Cancelled(failure):
                self._end(State.CANCELLED, row, False, appended(failures, failure), kept)
            case Retry(delay, failure):
                failures = appended(failures, failure)
                if row.cancel:
                    self._end(State.CANCELLED, row, True, appended(failures, asked_for(now)), kept)
                else:
                    row = row._replace(attempts=row.attempts + 1, worker_deaths=0, expires_at=None, failures=failures)
                    self._come_back(row, delay)
            case _ if row.cancel:
                self._end(State.CANCELLED, row, False, appended(failures, asked_for(now)), kept)
            case Release(delay):
                self._come_back(row, delay)
            case Park(patience, failure):
                self._parked.append((raw(job.task), now + patience, encode_failures([failure]), row))

    def _end(self, state: State, row: _LeasedRow, count_attempt: bool, failures: bytes, keep: float) -> None:
        self._ended[state].append(EndedJob(row.place, row.queue, row.since, row.attempts + count_attempt, failures, keep))

    def _come_back(self, row: _LeasedRow, delay: float) -> None:
        if delay > 0:
            self._delayed.append((self._tx.now + delay, row))
        else:
            self._ready.append(row)

    def _park(self) -> None:
        for task, dead_at, reason, row in self._parked:
            self._tx.run(
                "INSERT INTO @.parked SELECT %(task)b, place, queue, rank, %(dead_at)s, %(reason)b, attempts, returns, "
                f"expires_at, failures FROM {ROWS}",
                task=task,
                dead_at=dead_at,
                reason=reason,
                **columns([row]),
            )
            self._tx.count(row.queue, State.WAITING, 1)
            self._tx.tell("c")


def asked_for(now: float) -> Failure:
    return Failure(CANCELLED, "its cancellation was asked for", at=now)
