"""Places of new jobs: one with a fairness key goes as many rounds behind its queue's first as its key has jobs waiting."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from longboat.brokers.postgres.floors import ROUND
from longboat.brokers.postgres.names import raw
from longboat.brokers.postgres.rows import delete_some, insert_values
from longboat.brokers.postgres.store import Transaction
from longboat.core.job import Job

_WITHIN_ROUND = (1 << ROUND) - 1

KEPT = 3600.0
"""Seconds that a key's last round is remembered. After that its next job comes a little sooner."""

Key = tuple[bytes, int, bytes]
"""queue, rank, fairness key"""


def places(tx: Transaction, jobs: Sequence[tuple[str, int, Job | None]]) -> list[int]:
    """A place for each (queue, priority, job). Other puts with the same fairness keys wait until the transaction's end."""
    found = [
        place for (place,) in tx.run("SELECT nextval('@.places') FROM generate_series(1, %(n)s)", n=len(jobs)).fetchall()
    ]
    by_key: defaultdict[Key, list[int]] = defaultdict(list)
    for at, (queue, priority, job) in enumerate(jobs):
        if job and job.constraints and job.constraints.fairness_key:
            by_key[raw(queue), -priority, raw(job.constraints.fairness_key)].append(at)
    if not by_key:
        return found
    last = _lock(tx, sorted(by_key))
    first = _first(tx, {key[:2] for key in by_key})
    taken: set[int] = set()
    for key, its in sorted(by_key.items(), key=lambda item: item[1]):
        start = max(first.setdefault(key[:2], found[its[0]] >> ROUND), last[key] + 1)
        last[key] = start + len(its) - 1
        for turn, at in enumerate(its, start):
            found[at] = turn << ROUND | found[at] >> ROUND & _WITHIN_ROUND
            taken.add(found[at])
    _move_on(tx, found, taken)
    queues, ranks, keys = (list(each) for each in zip(*last, strict=True))
    tx.run(
        "UPDATE @.fairness AS f SET round = g.round FROM unnest(%(queues)b::bytea[], %(ranks)b::bigint[], "
        "%(keys)b::bytea[], %(rounds)b::bigint[]) AS g (queue, rank, key, round) "
        "WHERE f.queue = g.queue AND f.rank = g.rank AND f.key = g.key",
        queues=queues,
        ranks=ranks,
        keys=keys,
        rounds=list(last.values()),
    )
    return found


def forget(tx: Transaction, limit: int) -> None:
    delete_some(tx, "fairness", "at < %(at)s ORDER BY at", limit, at=tx.now - KEPT)


def _lock(tx: Transaction, keys: Sequence[Key]) -> dict[Key, int]:
    """The last rounds of these keys, which are sorted: everybody locks them in one order."""
    names = ["queue", "rank", "key"]
    columns = dict(zip(names, zip(*keys, strict=True), strict=True))
    rest = "ON CONFLICT (queue, rank, key) DO UPDATE SET at = excluded.at RETURNING queue, rank, key, round"
    rows = insert_values(tx, "fairness", columns, {"round": "0", "at": "%(at)s"}, rest, at=tx.now)
    return {(queue, rank, key): last for queue, rank, key, last in rows.fetchall()}


def _first(tx: Transaction, kinds: set[tuple[bytes, int]]) -> dict[tuple[bytes, int], int]:
    """By queue and rank: the round of the first ready job."""
    rows = tx.run(
        "SELECT g.queue, g.rank, r.place FROM unnest(%(queues)b::bytea[], %(ranks)b::bigint[]) AS g (queue, rank) "
        "CROSS JOIN LATERAL (SELECT place FROM @.ready WHERE queue = g.queue AND rank = g.rank "
        "ORDER BY queue, rank, place LIMIT 1) AS r",
        queues=[queue for queue, _ in kinds],
        ranks=[rank for _, rank in kinds],
    ).fetchall()
    return {(queue, rank): place >> ROUND for queue, rank, place in rows}


def _move_on(tx: Transaction, found: list[int], taken: set[int]) -> None:
    """Where another job has that very place (one of a million jobs of one round), take the next one."""
    while True:
        rows = tx.run("SELECT place FROM @.jobs WHERE place = ANY (%(places)b::bigint[])", places=sorted(taken)).fetchall()
        if not rows:
            return
        for (place,) in rows:
            other = place
            while other in taken or other in found:
                other = other >> ROUND << ROUND | (other + 1) & _WITHIN_ROUND
            found[found.index(place)] = other
            taken.remove(place)
            taken.add(other)
