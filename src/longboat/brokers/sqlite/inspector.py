"""SqliteInspector: looking at jobs, and an operator's changes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import msgspec

from longboat.brokers.sqlite import limits, prune, views
from longboat.brokers.sqlite.ending import EndedJob, appended, cancelled_kept, end, forget
from longboat.brokers.sqlite.store import Store, Transaction
from longboat.brokers.sqlite.sweep import remove
from longboat.brokers.sqlite.wake import CONSUMER, LISTENER, Ringer
from longboat.core.job import Failure, State
from longboat.core.reasons import CANCELLED
from longboat.core.views import ConsumerView, JobView, LimitView, Page

_CHUNK = 200
"""Jobs changed in one transaction, at most: workers wait meanwhile."""

_TABLES = {State.READY: "ready", State.SCHEDULED: "delayed", State.WAITING: "parked"}


class SqliteInspector:
    """See the contract. Reading takes no lock at all."""

    def __init__(self, store: Store, ringer: Ringer) -> None:
        self._store = store
        self._ringer = ringer

    def counts(self) -> Mapping[tuple[str, State], int]:
        with self._store.read() as db:
            rows = db.execute("SELECT queue, state, n FROM counters WHERE n > 0").fetchall()
        return {(queue, State(state)): n for queue, state, n in rows}

    def find(self, ids: Sequence[str]) -> list[JobView | None]:
        found: dict[str, views.JobRow] = {}
        for start in range(0, len(ids), _CHUNK):
            with self._store.read() as db:
                db.execute("BEGIN")
                found.update(views.find(db, ids[start : start + _CHUNK]))
        return [views.view(found[job_id]) if job_id in found else None for job_id in ids]

    def jobs(
        self, state: State, *, queue: str | None = None, task: str | None = None, after: str | None = None, limit: int = 100
    ) -> Page:
        with self._store.read() as db:
            db.execute("BEGIN")
            return views.page(db, state, queue, task, after, limit)

    def consumers(self) -> list[ConsumerView]:
        with self._store.read() as db:
            rows = db.execute(
                "SELECT id, name, queues, (SELECT count(*) FROM leased WHERE consumer = n), deadline "
                "FROM consumers WHERE deadline > ? ORDER BY n",
                (self._store.clock.now(),),
            ).fetchall()
        return [
            ConsumerView(consumer_id, name, msgspec.json.decode(queues, type=list[str]), running, deadline)
            for consumer_id, name, queues, running, deadline in rows
        ]

    def cancel(self, ids: Sequence[str]) -> list[str]:
        affected: set[str] = set()
        for start in range(0, len(ids), _CHUNK):
            with self._store.write() as tx:
                for row in views.find(tx.db, ids[start : start + _CHUNK]).values():
                    if _cancel(tx, row):
                        affected.add(row.id)
        if affected:
            self._ringer.ring(CONSUMER)
            self._ringer.ring(LISTENER)
        return [job_id for job_id in dict.fromkeys(ids) if job_id in affected]

    def retry(self, ids: Sequence[str]) -> list[str]:
        retried: set[str] = set()
        for start in range(0, len(ids), _CHUNK):
            with self._store.write() as tx:
                for row in views.find(tx.db, ids[start : start + _CHUNK]).values():
                    if row.state == State.DEAD.value:
                        _retry(tx, row)
                        retried.add(row.id)
        if retried:
            self._ringer.ring(CONSUMER)
        return [job_id for job_id in dict.fromkeys(ids) if job_id in retried]

    def purge(self, states: Collection[State], *, queue: str | None = None, limit: int = 1000) -> int:
        count = 0
        with self._store.write() as tx:
            held = tx.run("SELECT queue, state FROM counters WHERE n > 0 AND state <> 'running'").fetchall()
            for name, state in held:
                if State(state) in states and queue in (None, name) and count < limit:
                    count += _purge(tx, State(state), name, limit - count)
        return count

    def limits(self, keys: Sequence[str]) -> list[LimitView | None]:
        with self._store.read() as db:
            db.execute("BEGIN")
            return limits.views(db, self._store.clock.now(), keys)

    def prune(self, *, limit: int = 1000) -> int:
        with self._store.write() as tx:
            return prune.prune(tx, limit)


def _cancel(tx: Transaction, row: views.JobRow) -> bool:
    state = State(row.state)
    if state.ended:
        return False
    if state is State.RUNNING:
        return tx.run("UPDATE leased SET cancel = 1 WHERE token = ? AND NOT cancel", (row.key,)).rowcount == 1
    remove(tx, _TABLES[state], row.queue, row.rank, row.seq, row.id)
    tx.count(row.queue, state, -1)
    job = views.decoded(row.body)
    failure = Failure(CANCELLED, "the job was cancelled before it started", "", row.attempts, tx.now)
    keep = cancelled_kept(job.keep if job else 0)
    end(
        tx,
        State.CANCELLED,
        [EndedJob(row.queue, row.seq, row.id, None, row.attempts, appended(row.failures, failure), keep)],
    )
    return True


def _retry(tx: Transaction, row: views.JobRow) -> None:
    tx.run("DELETE FROM ended WHERE state = ? AND queue = ? AND n = ?", (row.state, row.queue, row.key))
    tx.count(row.queue, State.DEAD, -1)
    job = views.decoded(row.body)
    rank = -job.priority if job else 0
    tx.run(
        "INSERT OR IGNORE INTO ready VALUES (?, ?, ?, ?, 0, 0, NULL, ?)", (row.queue, rank, row.seq, row.id, row.failures)
    )
    tx.count(row.queue, State.READY, 1)


def _purge(tx: Transaction, state: State, queue: str, limit: int) -> int:
    if state.ended:
        return prune.delete_ended(tx, state, queue, 0, (1 << 63) - 1, limit)
    table = _TABLES[state]
    values = {"queue": queue, "limit": limit}
    key = {"ready": "queue, rank, seq, id", "delayed": "due, seq, id", "parked": "task, queue, rank, seq, id"}[table]
    within = f"FROM {table} WHERE queue = :queue ORDER BY {key} LIMIT :limit"
    forget(tx, f"SELECT seq, id {within}", values)
    deleted: int = tx.run(f"DELETE FROM {table} WHERE ({key}) IN (SELECT {key} {within})", values).rowcount
    tx.count(queue, state, -deleted)
    return deleted
