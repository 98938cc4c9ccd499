"""Dependencies: which jobs wait for which, with the results of the parents that have succeeded."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import psycopg.errors
from msgspec import structs

from longboat.brokers.postgres.names import name_of, raw
from longboat.brokers.postgres.rows import QUEUED, at_places, enqueue, insert_values, places_of, take
from longboat.brokers.postgres.store import Transaction
from longboat.contract.broker import Lease
from longboat.core.job import Job
from longboat.errors import UnknownParent

_LOOKS = 20
"""A parent may move from one table to another while it is looked for, but not for long."""

NO_DEPENDENTS = "NOT EXISTS (SELECT 1 FROM @.dependencies AS e WHERE e.parent = {place} AND e.result IS NULL)"
"""SQL: no job waits for the one at this place."""
NO_DEPENDENTS_AT_ALL = "(SELECT NOT EXISTS (SELECT 1 FROM @.dependencies WHERE result IS NULL ORDER BY parent LIMIT 1))"
"""SQL: no job waits for any other. Evaluated once a statement."""


# --- at the put


def add(tx: Transaction, jobs: Sequence[Job], new: Mapping[str, int]) -> dict[int, int]:
    """Note the parents of the new jobs (their places by id). Returns by place how many each has to wait for.

    Parents can neither start nor end until this transaction has ended. Raises UnknownParent.
    """
    order = {job.id: at for at, job in enumerate(jobs)}
    children = [(job, dict.fromkeys(job.constraints.after)) for job in jobs if job.constraints and job.id in new]
    stored: dict[str, Job] = {}
    for child, parents in children:
        for parent in parents:
            if parent not in new:
                stored[parent] = child
            elif order[parent] >= order[child.id]:
                raise _unknown(child, parent)
    places: dict[str, int] = dict(new)
    results: dict[str, bytes] = {}
    if stored:
        _find(tx, stored, places, results)
    edges = []
    missing: Counter[int] = Counter()
    for child, parents in children:
        for n, parent in enumerate(parents):
            edges.append((new[child.id], n, places[parent], results.get(parent)))
            missing[new[child.id]] += parent not in results
    if edges:
        names = ["child", "n", "parent", "result"]
        columns = dict(zip(names, zip(*edges, strict=True), strict=True))
        insert_values(tx, "dependencies", columns)
    return {place: n for place, n in missing.items() if n}


def _unknown(child: Job, parent: str) -> UnknownParent:
    return UnknownParent(f"job {child.id} comes after {parent}, which is not known here")


def _find(tx: Transaction, parents: Mapping[str, Job], places: dict[str, int], results: dict[str, bytes]) -> None:
    """Add the places of these jobs, which are locked until the transaction's end, and the results of successes."""
    left = dict(parents)
    for _ in range(_LOOKS):
        rows = tx.run(
            "SELECT place, id, queue, rank FROM @.jobs WHERE id = ANY (%(ids)b::bytea[]) AND body IS NOT NULL",
            ids=[raw(each) for each in left],
        ).fetchall()
        by_place = {row[0]: name_of(row[1]) for row in rows}
        if gone := left.keys() - by_place.values():
            parent = min(gone)
            raise _unknown(left[parent], parent)
        places.update((job_id, place) for place, job_id in by_place.items())
        done = tx.run(
            "SELECT place, result FROM @.ended WHERE place = ANY (%(places)b::bigint[]) AND state = 'succeeded'",
            places=list(by_place),
        ).fetchall()
        results.update((by_place[place], result or b"") for place, result in done)
        found = {place for place, _ in done} | _lock(tx, [row for row in rows if row[0] not in dict(done)])
        for place in found:
            del left[by_place[place]]
        if not left:
            return
    raise psycopg.errors.SerializationFailure("parents kept moving while they were looked for")


def _lock(tx: Transaction, rows: Sequence[tuple[Any, ...]]) -> set[int]:
    """Lock these jobs where they wait, and have the settlement of those that are leased look for dependents.

    A settlement that began before this transaction ends cannot see what it stores. That of a job locked here waits for the
    end, or begins after it. Returns the places of those that were found.
    """
    left = {place: _Parent(place, queue, rank) for place, _, queue, rank in rows}
    for table in (*QUEUED, "ended"):
        sql = at_places(table, "place", "FOR KEY SHARE", "AND state <> 'succeeded'" if table == "ended" else "")
        for (place,) in tx.run(sql, **places_of(left.values())).fetchall() if left else ():
            del left[place]
    leased = tx.run(
        "UPDATE @.leased SET has_dependents = TRUE WHERE token = ANY (ARRAY(SELECT token FROM @.leased "
        "WHERE place = ANY (%(places)b::bigint[]) ORDER BY token FOR UPDATE)) RETURNING place",
        places=sorted(left),
    )
    return {place for place, *_ in rows} - (left.keys() - {place for (place,) in leased.fetchall()})


class _Parent(NamedTuple):
    place: int
    queue: bytes
    rank: int


# --- when parents succeed


def resolve(tx: Transaction, results: Mapping[int, bytes]) -> None:
    """These jobs (their results by place) have succeeded: those that waited for them alone become ready, or scheduled."""
    waiting = tx.run(
        "SELECT DISTINCT child FROM @.dependencies WHERE parent = ANY (%(places)b::bigint[]) AND result IS NULL",
        places=list(results),
    ).fetchall()
    if not waiting:
        return
    # Locked before their dependencies, in one order, as by whoever cancels them.
    children = tx.run(
        "SELECT place FROM @.dependent WHERE place = ANY (%(places)b::bigint[]) ORDER BY place FOR UPDATE",
        places=[place for (place,) in waiting],
    ).fetchall()
    given = tx.run(
        "UPDATE @.dependencies AS e SET result = g.result FROM unnest(%(parents)b::bigint[], %(results)b::bytea[]) "
        "AS g (parent, result) WHERE e.parent = g.parent AND e.result IS NULL AND e.child = ANY (%(children)b::bigint[]) "
        "RETURNING e.child",
        parents=list(results),
        results=list(results.values()),
        children=[place for (place,) in children],
    ).fetchall()
    counts = Counter(place for (place,) in given)
    tx.run(
        "UPDATE @.dependent AS p SET missing = p.missing - g.n FROM unnest(%(places)b::bigint[], %(ns)b::int[]) "
        "AS g (place, n) WHERE p.place = g.place",
        places=list(counts),
        ns=list(counts.values()),
    )
    found = "SELECT ctid FROM @.dependent WHERE place = ANY (%(places)b::bigint[]) AND missing = 0"
    rows: list[Any] = take(tx, "dependent", found, "delay", places=list(counts))
    enqueue(tx, sorted(rows))


# --- at the claim, and after


def with_inputs(run: Callable[..., Any], leases: Iterable[Lease]) -> list[Lease]:
    """The leases with the results of their parents, without those leases that were lost meanwhile."""
    leases = list(leases)
    dependent = {lease.token: lease for lease in leases if lease.job.constraints and lease.job.constraints.after}
    if not dependent:
        return leases
    found: defaultdict[int, dict[int, bytes]] = defaultdict(dict)
    for token, n, result in run(
        "SELECT l.token, e.n, e.result FROM @.leased AS l CROSS JOIN LATERAL (SELECT n, result FROM @.dependencies "
        "WHERE child = l.place OFFSET 0) AS e WHERE l.token = ANY (%(tokens)b::bigint[])",
        tokens=list(dependent),
    ).fetchall():
        found[token][n] = result
    given: list[Lease] = []
    for lease in leases:
        after = lease.job.constraints.after if lease.job.constraints else []
        order = {parent: n for n, parent in enumerate(dict.fromkeys(after))}
        results = found[lease.token]
        if len(results) == len(order):
            given.append(structs.replace(lease, inputs=[results[order[parent]] for parent in after]) if after else lease)
    return given


def with_dependents(tx: Transaction, places: Sequence[int]) -> set[int]:
    """Those of these that others wait for."""
    rows = tx.run(
        "SELECT DISTINCT parent FROM @.dependencies WHERE parent = ANY (%(places)b::bigint[]) AND result IS NULL",
        places=list(places),
    ).fetchall()
    return {parent for (parent,) in rows}
