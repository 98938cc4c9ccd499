"""Settling: any mixture of outcomes in one transaction; successes of one queue are one statement."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from longboat.brokers.postgres import limits
from longboat.brokers.postgres.dependencies import NO_DEPENDENTS, NO_DEPENDENTS_AT_ALL, resolve
from longboat.brokers.postgres.names import raw
from longboat.brokers.postgres.put_constrained import is_constrained
from longboat.brokers.postgres.rows import (
    FIELDS,
    WALL,
    Ending,
    JobRow,
    appended,
    cancelled_kept,
    end,
    enqueue,
    forget,
    insert,
)
from longboat.brokers.postgres.store import NOW, Connection, Store, Transaction
from longboat.contract.broker import DEAD_KEPT, FORGOTTEN_AFTER, Lease, Settlement
from longboat.core.codec import encode_failures, encode_job
from longboat.core.job import Done, Release, State, limited
from longboat.core.transitions import after

_ME = "me AS MATERIALIZED (SELECT n FROM @.consumers WHERE n = %(consumer)s FOR KEY SHARE)"
"""SQL: a transaction that ends the consumer waits for this one, or this one finds it ended."""

_GONE = """
    gone AS MATERIALIZED (
        DELETE FROM @.leased WHERE token = ANY(%(tokens)b::bigint[]) AND consumer = (SELECT n FROM me) {but}
        RETURNING token, since, cancel, {fields})"""
_ALL = _GONE.format(but="", fields=FIELDS)
_FREE = _GONE.format(but=f"AND has_dependents IS NULL AND {NO_DEPENDENTS_AT_ALL}", fields=FIELDS)
"""Those without dependents, if no job has any. A put of dependents marks them meanwhile (dependencies.py)."""
_FREE_BESIDE = _GONE.format(
    but=f"AND has_dependents IS NULL AND {NO_DEPENDENTS.format(place='leased.place')}", fields=FIELDS
)
"""Those without dependents, where other jobs have some: it costs a little more."""

_SUCCEED = f"""
    WITH t AS MATERIALIZED (SELECT {NOW} AS now), {_ME}, {{gone}},
    e AS MATERIALIZED (SELECT nextval('@.endings') AS n),
    kept AS (
        INSERT INTO @.retention SELECT t.now + %(keep)s, 'succeeded', %(queue)b, e.n FROM t, e
        WHERE EXISTS (SELECT 1 FROM gone)),
    stored AS (
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
        WHERE EXISTS (SELECT 1 FROM @.listeners WHERE until > {WALL}) GROUP BY part)
    SELECT ARRAY(SELECT token FROM gone), (SELECT count(*) FROM told)"""
_ALIKE = {"result": "%(result)b", "source": "gone"}
"""For tasks that return nothing, as most do."""
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
"""The statements for results that are not kept, that are all the same, and that differ."""

_PLAIN_AGAIN = 0.5
"""Seconds between tries of the quicker statement while it is of no use."""


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
        held = store.use(lambda conn: _succeed(store, conn, consumer, queue, keep, results))
        if left := {token: settlement for token, settlement in ours.items() if token not in held}:
            held |= store.write(lambda tx: _SettleBatch(tx, consumer).settle(left))
        return refused + [settlement.lease for token, settlement in ours.items() if token not in held]

    def settling(tx: Transaction) -> list[Lease]:
        noted = _note_started(tx, consumer, started)
        held: set[int] = set()
        for (queue, keep), results in done.items():
            held |= _succeed(store, tx.conn, consumer, queue, keep, results)
        if left := {token: settlement for token, settlement in ours.items() if token not in held}:
            held |= _SettleBatch(tx, consumer).settle(left)
        lost = [settlement.lease for token, settlement in ours.items() if token not in held]
        return refused + lost + [lease for lease in started if lease.token not in noted]

    return store.write(settling)


def _succeed(store: Store, conn: Connection, consumer: int, queue: str, keep: float, results: dict[int, bytes]) -> set[int]:
    """Returns the tokens of the leases that were the consumer's and have no dependents."""
    values: dict[str, Any] = {"consumer": consumer, "queue": raw(queue), "keep": float(keep), "tokens": list(results)}
    values["channel"] = store.channel
    if keep <= 0:
        which = 0
    elif len(alike := set(results.values())) == 1:
        which, values["result"] = 1, alike.pop()
    else:
        which, values["results"] = 2, list(results.values())
    if time.monotonic() >= store.dependents_until:
        if held := store.run(conn, _PLAIN[which], values).fetchone()[0]:
            return set(held)
        store.dependents_until = time.monotonic() + _PLAIN_AGAIN
    return set(store.run(conn, _BESIDE[which], values).fetchone()[0])


def _note_started(tx: Transaction, consumer: int, started: Sequence[Lease]) -> set[int]:
    """Returns the tokens of the leases that are the consumer's."""
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
    """Leases sorted by what becomes of their jobs, so that each kind is one statement."""

    def __init__(self, tx: Transaction, consumer: int) -> None:
        self._tx = tx
        self._consumer = consumer
        self._ended: defaultdict[State, list[Ending]] = defaultdict(list)
        self._queued: list[tuple[JobRow, float]] = []
        self._parked: list[tuple[JobRow, bytes, float, bytes]] = []
        self._results: dict[int, bytes] = {}
        """Of those that succeeded, by place."""
        self._forgotten: list[int] = []

    def settle(self, settlements: dict[int, Settlement]) -> set[int]:
        """Returns the tokens of the leases that were the consumer's."""
        rows = self._tx.run(
            f"WITH {_ME}, {_ALL} SELECT * FROM gone ORDER BY place",
            consumer=self._consumer,
            tokens=list(settlements),
        ).fetchall()
        for token, since, cancel, *fields in rows:
            row = JobRow(*fields)
            self._tx.count(row.queue, State.RUNNING, -1)
            self._sort(row, since, cancel, settlements[token])
        for state, endings in self._ended.items():
            end(self._tx, state, endings)
        forget(self._tx, self._forgotten)
        if self._results:
            resolve(self._tx, self._results)
        enqueue(self._tx, self._queued)
        parked, tasks, dead_at, reasons = (
            (list(each) for each in zip(*self._parked, strict=True)) if self._parked else [[]] * 4
        )
        insert(self._tx, "parked", parked, task=tasks, dead_at=dead_at, reason=reasons)
        held = {row[0] for row in rows}
        limits.leave(self._tx, sorted(held))
        return held

    def _sort(self, row: JobRow, since: float, cancel: bool, settlement: Settlement) -> None:
        job, outcome, now = settlement.lease.job, settlement.outcome, self._tx.now
        its = after(outcome, cancelled=cancel, now=now, attempts=row.attempts)
        row = row._replace(failures=appended(row.failures, *its.failures))
        if its.counts:
            row = row._replace(attempts=row.attempts + 1, expires_at=None)
        if its.forgets_deaths:
            row = row._replace(worker_deaths=0)
        if isinstance(outcome, Done):
            self._results[row.place] = outcome.result
            if job.keep > 0:
                self._ended[its.state].append(Ending(row, job.keep, since, outcome.result))
            else:
                self._forgotten.append(row.place)
        elif its.state.ended:
            keep = DEAD_KEPT if its.state is State.DEAD else cancelled_kept(job.keep)
            self._ended[its.state].append(Ending(row, keep, since))
        elif its.parked is not None:
            self._parked.append((row, raw(job.task), now + its.delay, encode_failures([its.parked])))
        else:
            if isinstance(outcome, Release) and outcome.limits is not None:
                body = encode_job(limited(job, outcome.limits))
                self._tx.run("UPDATE @.jobs SET body = %(body)b WHERE place = %(place)s", body=body, place=row.place)
            self._queued.append((row, its.delay))
