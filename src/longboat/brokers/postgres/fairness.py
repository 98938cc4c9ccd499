"""Places of new jobs: a job with a turn key takes a seat so far behind the queue's first as its key has jobs waiting."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from longboat.brokers.postgres.names import raw
from longboat.brokers.postgres.transaction import Transaction
from longboat.core.job import Job

SEAT = 20
"""Bits of a place below its seat (constraints.sql)."""
_ON_ONE_SEAT = (1 << SEAT) - 1

KEPT = 3600.0
"""Seconds that a key's last seat is known: after that its next turn comes a little sooner."""

Key = tuple[bytes, int, bytes]
"""queue, rank, turn key"""


def places(tx: Transaction, jobs: Sequence[Job]) -> list[int]:
    """A place for each, in their order. Until the transaction's end others that put jobs of these keys wait."""
    found = _next(tx, len(jobs))
    by_key: defaultdict[Key, list[int]] = defaultdict(list)
    for at, job in enumerate(jobs):
        if job.constraints and job.constraints.fairness_key:
            by_key[raw(job.queue), -job.priority, raw(job.constraints.fairness_key)].append(at)
    if not by_key:
        return found
    seats = _lock(tx, sorted(by_key))
    first = _first(tx, {key[:2] for key in by_key})
    taken: set[int] = set()
    for key, its in sorted(by_key.items(), key=lambda item: item[1]):
        here = first.setdefault(key[:2], found[its[0]] >> SEAT)
        start = max(here, seats[key] + 1)
        seats[key] = start + len(its) - 1
        for seat, at in enumerate(its, start):
            found[at] = seat << SEAT | found[at] >> SEAT & _ON_ONE_SEAT
            taken.add(found[at])
    _move_on(tx, found, taken)
    queues, ranks, keys = (list(each) for each in zip(*seats, strict=True))
    tx.run(
        "UPDATE @.turns AS t SET seat = g.seat FROM unnest(%(queues)b::bytea[], %(ranks)b::bigint[], %(keys)b::bytea[], "
        "%(seats)b::bigint[]) AS g (queue, rank, key, seat) "
        "WHERE t.queue = g.queue AND t.rank = g.rank AND t.key = g.key",
        queues=queues,
        ranks=ranks,
        keys=keys,
        seats=list(seats.values()),
    )
    return found


def forget(tx: Transaction, limit: int) -> None:
    tx.run(
        "DELETE FROM @.turns WHERE ctid = ANY (ARRAY(SELECT ctid FROM @.turns WHERE at < %(at)s "
        "ORDER BY at LIMIT %(limit)s FOR UPDATE SKIP LOCKED))",
        at=tx.now - KEPT,
        limit=limit,
    )


def _next(tx: Transaction, n: int) -> list[int]:
    return [place for (place,) in tx.run("SELECT nextval('@.places') FROM generate_series(1, %(n)s)", n=n).fetchall()]


def _lock(tx: Transaction, keys: Sequence[Key]) -> dict[Key, int]:
    """The last seats of these keys, which are sorted, since all lock them in one order."""
    queues, ranks, names = (list(each) for each in zip(*keys, strict=True))
    rows = tx.run(
        "INSERT INTO @.turns (queue, rank, key, seat, at) SELECT g.*, 0, %(at)s FROM unnest(%(queues)b::bytea[], "
        "%(ranks)b::bigint[], %(keys)b::bytea[]) AS g (queue, rank, key) ORDER BY queue, rank, key "
        "ON CONFLICT (queue, rank, key) DO UPDATE SET at = excluded.at RETURNING queue, rank, key, seat",
        at=tx.now,
        queues=queues,
        ranks=ranks,
        keys=names,
    ).fetchall()
    return {(queue, rank, key): seat for queue, rank, key, seat in rows}


def _first(tx: Transaction, kinds: set[tuple[bytes, int]]) -> dict[tuple[bytes, int], int]:
    """By queue and rank: the seat of the first job that is ready."""
    rows = tx.run(
        "SELECT g.queue, g.rank, r.place FROM unnest(%(queues)b::bytea[], %(ranks)b::bigint[]) AS g (queue, rank) "
        "CROSS JOIN LATERAL (SELECT place FROM @.ready WHERE queue = g.queue AND rank = g.rank "
        "ORDER BY queue, rank, place LIMIT 1) AS r",
        queues=[queue for queue, _ in kinds],
        ranks=[rank for _, rank in kinds],
    ).fetchall()
    return {(queue, rank): place >> SEAT for queue, rank, place in rows}


def _move_on(tx: Transaction, found: list[int], taken: set[int]) -> None:
    """Where somebody has that very place (one of a million jobs of one seat, or of a store's first version): the next."""
    while True:
        rows = tx.run("SELECT place FROM @.jobs WHERE place = ANY (%(places)b::bigint[])", places=sorted(taken)).fetchall()
        if not rows:
            return
        for (place,) in rows:
            other = place
            while other in taken or other in found:
                other = other >> SEAT << SEAT | (other + 1) & _ON_ONE_SEAT
            found[found.index(place)] = other
            taken.remove(place)
            taken.add(other)
