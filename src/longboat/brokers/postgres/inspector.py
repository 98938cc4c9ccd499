"""PostgresInspector: looking at jobs, and an operator's changes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from longboat.brokers.postgres import change, limits, prune, views
from longboat.brokers.postgres.names import name_of
from longboat.brokers.postgres.store import Store
from longboat.brokers.postgres.transaction import NOW
from longboat.core.job import State
from longboat.core.views import ConsumerView, JobView, LimitView, Page

_CHUNK = 500
"""Jobs changed in one transaction, at most."""


class PostgresInspector:
    """See the contract. Reading takes no lock that anybody waits for."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def counts(self) -> Mapping[tuple[str, State], int]:
        rows = self._store.call(prune.COUNTS)
        return {(name_of(queue), State(state)): n for queue, state, n in rows if n > 0}

    def find(self, ids: Sequence[str]) -> list[JobView | None]:
        found: dict[str, views.JobRow] = {}
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
            affected.update(self._store.write(lambda tx, part=part: change.cancel(tx, part)))  # type: ignore[misc]
        return [job_id for job_id in dict.fromkeys(ids) if job_id in affected]

    def retry(self, ids: Sequence[str]) -> list[str]:
        retried: set[str] = set()
        for start in range(0, len(ids), _CHUNK):
            part = ids[start : start + _CHUNK]
            retried.update(self._store.write(lambda tx, part=part: change.retry(tx, part)))  # type: ignore[misc]
        return [job_id for job_id in dict.fromkeys(ids) if job_id in retried]

    def purge(self, states: Collection[State], *, queue: str | None = None, limit: int = 1000) -> int:
        return self._store.write(lambda tx: change.purge(tx, states, queue, limit))

    def limits(self, keys: Sequence[str]) -> list[LimitView | None]:
        return self._store.read(lambda tx: limits.views(tx, keys)) if keys else []

    def prune(self, *, limit: int = 1000) -> int:
        return self._store.write(lambda tx: prune.prune(tx, limit))
