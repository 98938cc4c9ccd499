"""SqliteInspector: looking at jobs, and an operator's changes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from longboat.brokers.sqlite import limits, prune, rows, views
from longboat.brokers.sqlite.ending import end_unleased, forget
from longboat.brokers.sqlite.rows import Row
from longboat.brokers.sqlite.store import Store, Transaction
from longboat.brokers.sqlite.wake import Ringer
from longboat.contract.base_pages import batches
from longboat.core import reasons
from longboat.core.job import State
from longboat.core.views import STATES, ConsumerView, JobView, LimitView, Page, job_or_none, queues_of

_CHUNK = 200
"""Jobs changed in one transaction, at most: workers wait meanwhile."""

_KEYS = {State.READY: rows.PLACE, State.SCHEDULED: "due, seq, id", State.WAITING: f"waits_for, {rows.PLACE}"}


class SqliteInspector:
    """See the contract. Reading takes no lock at all."""

    def __init__(self, store: Store, ringer: Ringer) -> None:
        self._store = store
        self._ringer = ringer

    def counts(self) -> Mapping[tuple[str, State], int]:
        with self._store.read() as db:
            found = db.execute("SELECT queue, state, n FROM longboat_counts WHERE n > 0").fetchall()
        return {(queue, State(state)): n for queue, state, n in found if state in STATES}

    def find(self, ids: Sequence[str]) -> list[JobView | None]:
        found: dict[str, views.JobRow] = {}
        for part in batches(ids, _CHUNK):
            with self._store.read() as db:
                db.execute("BEGIN")
                found.update(views.find(db, part))
        return [views.view(found[job_id]) if job_id in found else None for job_id in ids]

    def jobs(
        self, state: State, *, queue: str | None = None, task: str | None = None, after: str | None = None, limit: int = 100
    ) -> Page:
        with self._store.read() as db:
            db.execute("BEGIN")
            return views.page(db, state, queue, task, after, limit)

    def consumers(self) -> list[ConsumerView]:
        with self._store.read() as db:
            found = db.execute(
                "SELECT id, name, queues, (SELECT count(*) FROM longboat_leased WHERE consumer = n), deadline "
                "FROM longboat_consumers WHERE deadline > ? ORDER BY n",
                (self._store.clock.now(),),
            ).fetchall()
        return [
            ConsumerView(consumer_id, name, queues_of(queues), running, deadline)
            for consumer_id, name, queues, running, deadline in found
        ]

    def cancel(self, ids: Sequence[str]) -> list[str]:
        cancelled = self._change(ids, _cancel)
        self._ringer.tell(consumers=bool(cancelled), listeners=bool(cancelled))
        return cancelled

    def retry(self, ids: Sequence[str]) -> list[str]:
        retried = self._change(ids, _retry)
        self._ringer.tell(consumers=bool(retried))
        return retried

    def _change(self, ids: Sequence[str], change: Callable[[Transaction, views.JobRow], bool]) -> list[str]:
        """Those that were changed, each once."""
        changed: set[str] = set()
        for part in batches(ids, _CHUNK):
            with self._store.write() as tx:
                changed.update(row.id for row in views.find(tx.db, part).values() if change(tx, row))
        return [job_id for job_id in dict.fromkeys(ids) if job_id in changed]

    def purge(self, states: Collection[State], *, queue: str | None = None, limit: int = 1000) -> int:
        count = 0
        with self._store.write() as tx:
            held = tx.run("SELECT queue, state FROM longboat_counts WHERE n > 0 AND state <> 'running'").fetchall()
            for name, state in held:
                if state in states and queue in (None, name) and count < limit:
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
        return tx.run("UPDATE longboat_leased SET cancelled = 1 WHERE token = ? AND NOT cancelled", (row.key,)).rowcount == 1
    end_unleased(tx, state, [row.place], State.CANCELLED, lambda job: [reasons.cancelled(tx.now, job.attempts)])
    return True


def _retry(tx: Transaction, row: views.JobRow) -> bool:
    if row.state != State.DEAD.value:
        return False
    views.delete_ended(tx, row)
    job = job_or_none(row.message)
    rows.insert(tx, Row(row.queue, -job.priority if job else 0, row.seq, row.id, failures=row.failures))
    return True


def _purge(tx: Transaction, state: State, queue: str, limit: int) -> int:
    if state.ended:
        return prune.delete_ended(tx, state, queue, 0, (1 << 63) - 1, limit)
    values = {"queue": queue, "limit": limit}
    within = f"FROM longboat_{state.value} WHERE queue = :queue ORDER BY {_KEYS[state]} LIMIT :limit"
    forget(tx, f"SELECT seq, id {within}", values)
    sql = f"DELETE FROM longboat_{state.value} WHERE ({_KEYS[state]}) IN (SELECT {_KEYS[state]} {within})"
    deleted: int = tx.run(sql, values).rowcount
    tx.count(queue, state, -deleted)
    return deleted
