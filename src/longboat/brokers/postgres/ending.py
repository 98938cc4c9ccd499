"""How jobs end: into `ended` with a number and a term, or out of the store."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from longboat.brokers.postgres.following import untie
from longboat.brokers.postgres.transaction import Transaction
from longboat.contract.broker import FORGOTTEN_AFTER
from longboat.core import codec
from longboat.core.job import DEFAULT_KEEP, FAILURES_KEPT, Failure, State
from longboat.errors import Undecodable

_PER_PAYLOAD = 400
"""Places told in one notification: PostgreSQL allows 8000 bytes."""


class EndedJob(NamedTuple):
    """A job on its way into `ended`, its row in another table gone already."""

    place: int
    queue: bytes
    started: float | None
    attempts: int
    failures: bytes | None
    keep: float
    result: bytes | None = None


def end(tx: Transaction, state: State, endings: Iterable[EndedJob]) -> None:
    groups: defaultdict[tuple[bytes, float], list[EndedJob]] = defaultdict(list)
    for ending in endings:
        groups[ending.queue, ending.keep].append(ending)
    if state is not State.DEAD:  # those may be revived
        untie(tx, [ending.place for group in groups.values() for ending in group])
    for (queue, keep), group in groups.items():
        tx.run(
            """
            WITH e AS MATERIALIZED (SELECT nextval('@.endings') AS n),
            term AS (INSERT INTO @.terms SELECT %(until)s, %(state)s, %(queue)b, n FROM e)
            INSERT INTO @.ended
            SELECT %(state)s, %(queue)b, e.n, g.place, %(at)s, g.started, g.attempts, g.failures, g.result
            FROM e, unnest(%(places)b::bigint[], %(starts)b::float8[], %(tries)b::int[], %(failures)b::bytea[],
                %(results)b::bytea[]) AS g (place, started, attempts, failures, result)""",
            until=tx.now + keep,
            at=tx.now,
            state=state.value,
            queue=queue,
            places=[e.place for e in group],
            starts=[e.started for e in group],
            tries=[e.attempts for e in group],
            failures=[e.failures for e in group],
            results=[e.result for e in group],
        )
        tx.count(queue, state, len(group))
        tell_ended(tx, [e.place for e in group])


def tell_ended(tx: Transaction, places: Sequence[int]) -> None:
    """Notify those who wait for results."""
    if not places or not tx.run(f"SELECT EXISTS (SELECT 1 FROM @.watchers WHERE until > {WALL})").fetchone()[0]:
        return
    for start in range(0, len(places), _PER_PAYLOAD):
        tx.tell("e" + ",".join(map(str, places[start : start + _PER_PAYLOAD])))


WALL = "extract(epoch FROM clock_timestamp())::float8"
"""SQL: the server's time even where another clock was given."""


def forget(tx: Transaction, places: Sequence[int], at: Sequence[float | None]) -> None:
    """Delete messages. Ids chosen by callers stay remembered for a while after `at`, when each job ended (None: now)."""
    if not places:
        return
    untie(tx, places)
    tx.run(
        """
        UPDATE @.jobs AS j SET body = NULL, until = coalesce(g.at, %(at)s) + %(after)s
        FROM unnest(%(places)b::bigint[], %(ats)b::float8[]) AS g (place, at) WHERE j.place = g.place AND j.chosen""",
        places=list(places),
        ats=list(at),
        at=tx.now,
        after=FORGOTTEN_AFTER,
    )
    tx.run("DELETE FROM @.jobs WHERE place = ANY(%(places)b::bigint[]) AND NOT chosen", places=list(places))


def appended(failures: bytes | None, failure: Failure) -> bytes:
    """The recorded failures with one more: the newest FAILURES_KEPT."""
    if not failures:
        return codec.encode_failures([failure])
    return codec.encode_failures([*codec.decode_failures(failures), failure][-FAILURES_KEPT:])


def keeps(tx: Transaction, places: Sequence[int]) -> dict[int, float]:
    """Seconds that each of these jobs stays readable when it is cancelled."""
    if not places:
        return {}
    rows = tx.run("SELECT place, body FROM @.jobs WHERE place = ANY(%(places)b::bigint[])", places=list(places)).fetchall()
    return {place: _keep(body) for place, body in rows}


def _keep(body: bytes | None) -> float:
    try:
        return cancelled_kept(codec.decode_job(body).keep) if body else DEFAULT_KEEP
    except Undecodable:
        return DEFAULT_KEEP


def cancelled_kept(keep: float) -> float:
    """`keep` counts for successes: what was cancelled is told even of jobs whose results nobody keeps."""
    return keep or DEFAULT_KEEP
