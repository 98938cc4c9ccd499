"""PostgresInspector: looking at jobs, and an operator's changes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from longboat.brokers.postgres import limits, tidy, views
from longboat.brokers.postgres.floors import LOOK
from longboat.brokers.postgres.names import name_of
from longboat.brokers.postgres.rows import STATES, JobRow, end_cancelled, forget, insert, take, take_these
from longboat.brokers.postgres.store import NOW, Store, Transaction
from longboat.contract.base_pages import batches
from longboat.core import reasons
from longboat.core.job import State
from longboat.core.portions import asked
from longboat.core.views import ConsumerView, JobView, LimitView, Page

_CHUNK = 500
"""Jobs changed in one transaction, at most."""


_ORDERS = {
    "ready": "queue, rank, place",
    "scheduled": "due, place",
    "parked": "task, queue, rank, place",
    "dependent": "queue, place",
    "blocked": "queue, place",
}
"""By table: the order in which its jobs of one queue are deleted."""

_LOOKS = 3
"""A job may move from one table to another while it is looked for."""


class PostgresInspector:
    """See the contract. Reading takes no lock that anybody waits for."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def counts(self) -> Mapping[tuple[str, State], int]:
        rows = self._store.call(tidy.COUNTS)
        return {(name_of(queue), State(state)): n for queue, state, n in rows if n > 0}

    def find(self, ids: Sequence[str]) -> list[JobView | None]:
        def ask(some: Sequence[str]) -> list[tuple[str, views.FoundJob]]:
            return list(self._store.read(lambda tx: views.find(tx, some)).items())

        found = dict(asked(ids, _CHUNK, ask, lambda its: len(its[1].body or b"") + len(its[1].result or b"")))
        return [views.view(found[job_id]) if job_id in found else None for job_id in ids]

    def jobs(
        self, state: State, *, queue: str | None = None, task: str | None = None, after: str | None = None, limit: int = 100
    ) -> Page:
        return self._store.read(lambda tx: views.page(tx, state, queue, task, after, limit))

    def consumers(self) -> list[ConsumerView]:
        rows = self._store.call(
            "SELECT id, name, queues, (SELECT count(*) FROM @.leased WHERE consumer = n), deadline "
            f"FROM @.consumers WHERE deadline > {NOW} ORDER BY n"
        )
        return [
            ConsumerView(consumer_id, name_of(name), [name_of(queue) for queue in queues], running, deadline)
            for consumer_id, name, queues, running, deadline in rows
        ]

    def cancel(self, ids: Sequence[str]) -> list[str]:
        return self._change(ids, _cancel)

    def retry(self, ids: Sequence[str]) -> list[str]:
        return self._change(ids, _retry)

    def _change(self, ids: Sequence[str], do: Callable[[Transaction, Sequence[str]], set[str]]) -> list[str]:
        affected: set[str] = set()
        for batch in batches(ids, _CHUNK):
            affected |= self._store.write(lambda tx, batch=batch: do(tx, batch))  # type: ignore[misc]  # mypy cannot type a default of a lambda
        return [job_id for job_id in dict.fromkeys(ids) if job_id in affected]

    def purge(self, states: Collection[State], *, queue: str | None = None, limit: int = 1000) -> int:
        return self._store.write(lambda tx: _purge(tx, states, queue, limit))

    def limits(self, keys: Sequence[str]) -> list[LimitView | None]:
        return self._store.read(lambda tx: limits.views(tx, keys)) if keys else []

    def prune(self, *, limit: int = 1000) -> int:
        return self._store.write(lambda tx: tidy.prune(tx, limit))


def _cancel(tx: Transaction, ids: Sequence[str]) -> set[str]:
    """The ids of those on which it had an effect."""
    affected: set[str] = set()
    left = set(ids)
    for _ in range(_LOOKS):
        by_table: defaultdict[str, list[views.FoundJob]] = defaultdict(list)
        for row in views.find(tx, sorted(left)).values():
            by_table[row.table].append(row)
        for table, rows in by_table.items():
            rows.sort(key=lambda row: row.place)
            if table == "ended":
                left -= _ids(rows)
            elif table == "leased":
                seen, requested = _request(tx, rows)
                left -= seen
                affected |= requested
            else:
                gone = {row.place: row for row in take_these(tx, table, rows)}
                end_cancelled(tx, [(row, None) for row in gone.values()], reasons.cancelled)
                done = _ids(row for row in rows if row.place in gone)
                left -= done
                affected |= done
        if not left or not by_table:
            break
    return affected


def _request(tx: Transaction, rows: Sequence[views.FoundJob]) -> tuple[set[str], set[str]]:
    """The cancellation of these running jobs is requested.

    Returns the ids of those that were still running, and of those on which it had an effect.
    """
    by_token = {row.key: row for row in rows}
    requested = tx.run(
        "UPDATE @.leased AS l SET cancel = TRUE FROM (SELECT token, cancel FROM @.leased "
        "WHERE token = ANY (%(tokens)b::bigint[]) ORDER BY token FOR UPDATE) AS old "
        "WHERE l.token = old.token RETURNING l.token, old.cancel",
        tokens=sorted(by_token),
    ).fetchall()
    tx.notify(LOOK)
    return _ids(by_token[token] for token, _ in requested), _ids(by_token[token] for token, was in requested if not was)


def _ids(rows: Iterable[views.FoundJob]) -> set[str]:
    return {name_of(row.id or b"") for row in rows}


def _retry(tx: Transaction, ids: Sequence[str]) -> set[str]:
    """The ids of those that were dead, and are ready now."""
    rows = tx.run(
        "WITH gone AS MATERIALIZED (DELETE FROM @.ended WHERE ctid = ANY (ARRAY(SELECT ctid FROM @.ended "
        "WHERE place = ANY (%(places)b::bigint[]) AND state = 'dead' ORDER BY place FOR UPDATE)) RETURNING place, failures) "
        "SELECT j.id, g.place, j.queue, j.rank, g.failures FROM gone AS g "
        "CROSS JOIN LATERAL (SELECT id, queue, rank FROM @.jobs WHERE place = g.place OFFSET 0) AS j ORDER BY g.place",
        places=[row.place for row in views.find(tx, ids).values() if row.state == State.DEAD.value],
    ).fetchall()
    back = [JobRow(place, queue, rank, failures=failures) for _, place, queue, rank, failures in rows]
    for row in back:
        tx.count(row.queue, State.DEAD, -1)
    insert(tx, "ready", back)
    return {name_of(stored) for stored, *_ in rows}


def _purge(tx: Transaction, states: Collection[State], queue: str | None, limit: int) -> int:
    """Delete up to `limit` jobs in these states; returns how many."""
    count = 0
    for name, value, _ in tx.run(tidy.COUNTS).fetchall():
        state = State(value)
        if state not in states or queue not in (None, name_of(name)):
            continue
        if state.ended:
            count += tidy.delete_ended(tx, state, name, limit - count)
        for table in _ORDERS:
            if STATES[table] is state:
                count += _purge_table(tx, table, name, limit - count)
    return count


def _purge_table(tx: Transaction, table: str, queue: bytes, limit: int) -> int:
    found = (
        f"SELECT ctid FROM @.{table} WHERE queue = %(queue)b ORDER BY {_ORDERS[table]} LIMIT %(limit)s "
        "FOR UPDATE SKIP LOCKED"
    )
    rows = take(tx, table, found, queue=queue, limit=limit)
    forget(tx, [row.place for (row,) in rows])
    return len(rows)
