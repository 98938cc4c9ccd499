"""Results in memory: looked up, or told to who watches as they come."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from longboat.brokers.memory.store import Store
from longboat.contract.base import BaseListener
from longboat.core.clock import SYSTEM
from longboat.core.job import Result


class MemoryResults:
    def __init__(self, store: Store) -> None:
        self._store = store

    def get(self, ids: Sequence[str]) -> list[Result | None]:
        with self._store.locked():
            return [_result(self._store, job_id) for job_id in ids]

    def listen(self) -> MemoryListener:
        return MemoryListener(self._store)


class MemoryListener(BaseListener):
    def __init__(self, store: Store) -> None:
        super().__init__()
        self._store = store
        self._told: dict[str, Result] = {}

    def watch(self, ids: Sequence[str]) -> None:
        """The store tells of these from now on, also of results that it does not keep."""
        with self._lock, self._store.locked():
            self._watched.update(ids)
            for job_id in ids:
                if result := _result(self._store, job_id):
                    self.tell(result)
                else:
                    self._store.watchers.setdefault(job_id, set()).add(self)
            if self._told:
                self._store.notify()

    def tell(self, result: Result) -> None:
        """Called with the store's lock held."""
        self._told[result.id] = result

    def _look(self, fresh: Collection[str]) -> Iterable[Result]:  # noqa: ARG002  # `watch` has looked at these
        with self._store.locked():
            told, self._told = self._told, {}
        return told.values()

    def _wait(self, until: float) -> None:
        with self._store.locked() as now:
            if not (self._told or self._woken or self._closed):
                self._store.wait(max(0.0, until - SYSTEM.monotonic()), now)

    def _unwatch(self, ids: Collection[str]) -> None:
        super()._unwatch(ids)
        with self._store.locked():
            for job_id in ids:
                self._told.pop(job_id, None)
                others = self._store.watchers.get(job_id, set())
                others.discard(self)
                if not others:
                    self._store.watchers.pop(job_id, None)

    def _ring(self) -> None:
        with self._store.changed:
            self._store.notify()

    def _end(self) -> None:
        self.forget(list(self._watched))


def _result(store: Store, job_id: str) -> Result | None:
    record = store.jobs.get(job_id)
    return record.outcome() if record and record.state.ended else None
