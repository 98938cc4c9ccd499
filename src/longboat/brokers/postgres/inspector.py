"""PostgresInspector: looking at jobs, and an operator's changes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from longboat.broker import CANCELLED
from longboat.brokers.postgres import prune, views
from longboat.brokers.postgres.ending import Ending, appended, cancelled_kept, end, forget
from longboat.brokers.postgres.names import name_of
from longboat.brokers.postgres.store import NOW, Store, Transaction
from longboat.brokers.postgres.sweep import remove
from longboat.inspector import ConsumerView, Page
from longboat.job import Failure, JobView, State

_CHUNK = 200
"""Jobs changed in one transaction, at most."""

_TABLES = {State.READY: "ready", State.SCHEDULED: "delayed", State.WAITING: "parked"}
_KEYS = {"ready": "queue, rank, place", "delayed": "due, place", "parked": "task, queue, rank, place"}


class PostgresInspector:
    """See the contract. Reading takes no lock that anybody waits for."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def counts(self) -> Mapping[tuple[str, State], int]:
        rows = self._store.call(prune.COUNTS)
        return {(name_of(queue), State(state)): n for queue, state, n in rows if n > 0}

    def find(self, ids: Sequence[str]) -> list[JobView | None]:
        found: dict[str, views.Row] = {}
        for start in range(0, len(ids), _CHUNK):
            part = ids[start : start + _CHUNK]
            found.update(self._store.read(lambda tx, part=part: views.find(tx, part)))  # type: ignore[misc]
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
        affected: set[str] = set()
        for start in range(0, len(ids), _CHUNK):
            part = ids[start : start + _CHUNK]
            affected.update(self._store.write(lambda tx, part=part: _cancel(tx, part)))  # type: ignore[misc]
        return [job_id for job_id in dict.fromkeys(ids) if job_id in affected]

    def revive(self, ids: Sequence[str]) -> list[str]:
        revived: set[str] = set()
        for start in range(0, len(ids), _CHUNK):
            part = ids[start : start + _CHUNK]
            revived.update(self._store.write(lambda tx, part=part: _revive(tx, part)))  # type: ignore[misc]
        return [job_id for job_id in dict.fromkeys(ids) if job_id in revived]

    def purge(self, states: Collection[State], *, queue: str | None = None, limit: int = 1000) -> int:
        def purging(tx: Transaction) -> int:
            count = 0
            for name, state, _ in tx.run(prune.COUNTS).fetchall():
                if State(state) in states and state != "running" and queue in (None, name_of(name)) and count < limit:
                    count += _purge(tx, State(state), name, limit - count)
            return count

        return self._store.write(purging)

    def prune(self, *, limit: int = 1000) -> int:
        return self._store.write(lambda tx: prune.prune(tx, limit))


def _cancel(tx: Transaction, ids: Sequence[str]) -> set[str]:
    affected: set[str] = set()
    left = set(ids)
    for _ in range(_LOOKS):
        for job_id, row in sorted(views.find(tx, list(left)).items(), key=lambda item: item[1].place):
            if State(row.state).ended:
                left.discard(job_id)
            elif (done := _cancel_one(tx, row)) is not None:
                left.discard(job_id)
                if done:
                    affected.add(job_id)
        if not left:
            break
    return affected


_LOOKS = 3
"""A job may go from one table to another while it is looked for."""


def _cancel_one(tx: Transaction, row: views.Row) -> bool | None:
    """Whether it had an effect; None: the job was not there any more."""
    state = State(row.state)
    if state is State.RUNNING:
        done = tx.run(
            "UPDATE @.leased AS l SET cancel = TRUE FROM @.leased AS old WHERE l.token = %(token)s "
            "AND old.token = l.token RETURNING old.cancel",
            token=row.key,
        ).fetchone()
        tx.tell("c")
        return None if done is None else not done[0]
    taken = remove(tx, _TABLES[state], row.place, row.queue, row.rank)
    if taken is None:
        return None
    tx.count(row.queue, state, -1)
    job = views.decoded(row.body)
    failure = Failure(CANCELLED, "the job was cancelled before it started", "", row.attempts, tx.now)
    keep = cancelled_kept(job.keep if job else 0)
    ending = Ending(row.place, row.queue, None, row.attempts, appended(row.failures, failure), keep)
    end(tx, State.CANCELLED, [ending])
    return True


def _revive(tx: Transaction, ids: Sequence[str]) -> set[str]:
    revived: set[str] = set()
    for job_id, row in sorted(views.find(tx, ids).items(), key=lambda item: item[1].place):
        if row.state != State.DEAD.value:
            continue
        gone = tx.run("DELETE FROM @.ended WHERE place = %(place)s AND state = 'dead' RETURNING n", place=row.place)
        if gone.fetchone() is None:
            continue
        tx.count(row.queue, State.DEAD, -1)
        tx.run(
            "INSERT INTO @.ready (place, queue, rank, attempts, returns, failures) "
            "SELECT place, queue, rank, 0, 0, %(failures)b FROM @.jobs WHERE place = %(place)s",
            place=row.place,
            failures=row.failures,
        )
        tx.count(row.queue, State.READY, 1)
        tx.tell("c")
        revived.add(job_id)
    return revived


def _purge(tx: Transaction, state: State, queue: bytes, limit: int) -> int:
    if state.ended:
        return prune.delete_ended(tx, state, queue, limit)
    table = _TABLES[state]
    rows = tx.run(
        f"DELETE FROM @.{table} WHERE ctid = ANY (ARRAY(SELECT ctid FROM @.{table} WHERE queue = %(queue)b "
        f"ORDER BY {_KEYS[table]} LIMIT %(limit)s FOR UPDATE SKIP LOCKED)) RETURNING place",
        queue=queue,
        limit=limit,
    ).fetchall()
    forget(tx, [place for (place,) in rows], [None] * len(rows))
    tx.count(queue, state, -len(rows))
    return len(rows)
