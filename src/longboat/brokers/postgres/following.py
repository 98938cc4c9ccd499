"""Jobs that come after others: which wait for which, with the results of those that have succeeded."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import psycopg.errors
from msgspec import structs

from longboat.brokers.postgres.moving import make_ready, make_scheduled
from longboat.brokers.postgres.names import name_of, raw
from longboat.brokers.postgres.transaction import Transaction
from longboat.contract.broker import Lease
from longboat.core.job import Job, State
from longboat.errors import UnknownParent

_LOOKS = 20
"""A parent may go from one table to another while it is looked for, though not for long."""

NOT_AWAITED = "NOT EXISTS (SELECT 1 FROM @.edges AS e WHERE e.parent = {place} AND e.result IS NULL)"
"""SQL: no job waits for the one at this place."""
NONE_AWAITED = "(SELECT NOT EXISTS (SELECT 1 FROM @.edges WHERE result IS NULL ORDER BY parent LIMIT 1))"
"""SQL: no job waits for any other. Asked once a statement."""


# --- at the put


def tie(tx: Transaction, jobs: Sequence[Job], new: Mapping[str, int]) -> dict[int, int]:
    """Note what the new jobs (their places by id) come after. Returns how many each has to wait for, by its place.

    Those they come after can neither start nor end until this transaction has. Raises UnknownParent.
    """
    order = {job.id: at for at, job in enumerate(jobs)}
    children = [job for job in jobs if job.constraints and job.constraints.after and job.id in new]
    stored: dict[str, Job] = {}
    for child in children:
        for parent in child.constraints.after if child.constraints else ():
            if parent not in new:
                stored[parent] = child
            elif order[parent] >= order[child.id]:
                raise _unknown(child, parent)
    places: dict[str, int] = dict(new)
    results: dict[str, bytes] = {}
    if stored:
        _find(tx, stored, places, results)
    edges: list[tuple[int, int, int, bytes | None]] = []
    missing: Counter[int] = Counter()
    for child in children:
        place = new[child.id]
        for n, parent in enumerate(dict.fromkeys(child.constraints.after if child.constraints else ())):
            edges.append((place, n, places[parent], results.get(parent)))
            missing[place] += parent not in results
    if edges:
        child_places, ns, parents, values = (list(each) for each in zip(*edges, strict=True))
        tx.run(
            "INSERT INTO @.edges (child, n, parent, result) SELECT * FROM unnest(%(children)b::bigint[], %(ns)b::int[], "
            "%(parents)b::bigint[], %(results)b::bytea[])",
            children=child_places,
            ns=ns,
            parents=parents,
            results=values,
        )
    return {place: n for place, n in missing.items() if n}


def _unknown(child: Job, parent: str) -> UnknownParent:
    return UnknownParent(f"job {child.id} comes after {parent}, which is not known here")


def _find(tx: Transaction, parents: Mapping[str, Job], places: dict[str, int], results: dict[str, bytes]) -> None:
    """Where these are, held there until the transaction's end; of those that have succeeded the result."""
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
        found = {place for place, _ in done} | _hold(tx, [row for row in rows if row[0] not in dict(done)])
        for place in found:
            del left[by_place[place]]
        if not left:
            return
    raise psycopg.errors.SerializationFailure("jobs that others come after moved on and on")


_WAITING = ("ended", "pending", "delayed", "parked", "lined")


def _hold(tx: Transaction, rows: Sequence[tuple[Any, ...]]) -> set[int]:
    """Lock these jobs where they wait, and have the settling of those that are leased look for followers.

    A settlement that began before this transaction ends cannot see what it stores; that of a job found here waits for the
    end, or begins after it.
    """
    held: set[int] = set()
    if not rows:
        return held
    places, _, queues, ranks = (list(each) for each in zip(*sorted(rows), strict=True))
    held.update(
        place
        for (place,) in tx.run(
            "SELECT r.place FROM unnest(%(places)b::bigint[], %(queues)b::bytea[], %(ranks)b::bigint[]) "
            "AS g (place, queue, rank) CROSS JOIN LATERAL (SELECT place FROM @.ready "
            "WHERE queue = g.queue AND rank = g.rank AND place = g.place OFFSET 0 FOR KEY SHARE) AS r",
            places=places,
            queues=queues,
            ranks=ranks,
        ).fetchall()
    )
    for table in _WAITING:
        if left := sorted(set(places) - held):
            but = "AND state <> 'succeeded'" if table == "ended" else ""
            sql = f"SELECT place FROM @.{table} WHERE place = ANY (%(places)b::bigint[]) {but} ORDER BY place FOR KEY SHARE"
            held.update(place for (place,) in tx.run(sql, places=left).fetchall())
    if left := sorted(set(places) - held):
        leased = tx.run(
            "UPDATE @.leased SET followed = TRUE WHERE token = ANY (ARRAY(SELECT token FROM @.leased "
            "WHERE place = ANY (%(places)b::bigint[]) ORDER BY token FOR UPDATE)) RETURNING place",
            places=left,
        )
        held.update(place for (place,) in leased.fetchall())
    return held


# --- when parents succeed


class _Child(NamedTuple):
    place: int
    delay: float
    queue: bytes
    rank: int
    attempts: int
    worker_deaths: int
    expires_at: float | None
    failures: bytes | None


def let_go(tx: Transaction, results: Mapping[int, bytes]) -> None:
    """These jobs (their results by place) have succeeded: those that waited for them alone are ready, or scheduled."""
    waiting = tx.run(
        "SELECT DISTINCT child FROM @.edges WHERE parent = ANY (%(places)b::bigint[]) AND result IS NULL",
        places=list(results),
    ).fetchall()
    if not waiting:
        return
    # Locked before their edges, in one order, as by whoever cancels them.
    children = tx.run(
        "SELECT place FROM @.pending WHERE place = ANY (%(places)b::bigint[]) ORDER BY place FOR UPDATE",
        places=[place for (place,) in waiting],
    ).fetchall()
    told = tx.run(
        "UPDATE @.edges AS e SET result = g.result FROM unnest(%(parents)b::bigint[], %(results)b::bytea[]) "
        "AS g (parent, result) WHERE e.parent = g.parent AND e.result IS NULL AND e.child = ANY (%(children)b::bigint[]) "
        "RETURNING e.child",
        parents=list(results),
        results=list(results.values()),
        children=[place for (place,) in children],
    ).fetchall()
    counts = Counter(place for (place,) in told)
    free = tx.run(
        "UPDATE @.pending AS p SET missing = p.missing - g.n FROM unnest(%(places)b::bigint[], %(ns)b::int[]) "
        "AS g (place, n) WHERE p.place = g.place RETURNING p.place, p.missing",
        places=list(counts),
        ns=list(counts.values()),
    ).fetchall()
    rows = tx.run(
        "DELETE FROM @.pending WHERE place = ANY (%(places)b::bigint[]) "
        "RETURNING place, delay, queue, rank, attempts, returns, expires_at, failures",
        places=[place for place, missing in free if missing == 0],
    ).fetchall()
    _place(tx, sorted(_Child(*row) for row in rows))


def _place(tx: Transaction, rows: Sequence[_Child]) -> None:
    for row in rows:
        tx.count(row.queue, State.WAITING, -1)
    make_ready(tx, [row for row in rows if row.delay <= 0])
    make_scheduled(tx, [(tx.now + row.delay, row) for row in rows if row.delay > 0])


# --- at the claim, and after


def with_inputs(run: Callable[..., Any], leases: Iterable[Lease]) -> list[Lease]:
    """The same with the results of the jobs they come after, without those that were lost meanwhile."""
    leases = list(leases)
    constrained = {lease.token: lease for lease in leases if lease.job.constraints and lease.job.constraints.after}
    if not constrained:
        return leases
    found: defaultdict[int, dict[int, bytes]] = defaultdict(dict)
    for token, n, result in run(
        "SELECT l.token, e.n, e.result FROM @.leased AS l CROSS JOIN LATERAL (SELECT n, result FROM @.edges "
        "WHERE child = l.place OFFSET 0) AS e WHERE l.token = ANY (%(tokens)b::bigint[])",
        tokens=list(constrained),
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


def untie(tx: Transaction, places: Sequence[int]) -> None:
    """These jobs need nothing of others any more."""
    if places:
        tx.run(
            "DELETE FROM @.edges WHERE child = ANY (%(places)b::bigint[]) AND (SELECT EXISTS (SELECT 1 FROM @.edges))",
            places=list(places),
        )


def awaited(tx: Transaction, places: Sequence[int]) -> set[int]:
    """Those of these that others wait for."""
    rows = tx.run(
        "SELECT DISTINCT parent FROM @.edges WHERE parent = ANY (%(places)b::bigint[]) AND result IS NULL",
        places=list(places),
    ).fetchall()
    return {parent for (parent,) in rows}
