"""The memory broker's inspector: what can be seen of it, and an operator's changes."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import chain, islice
from operator import itemgetter

from longboat.brokers.memory.record import Record
from longboat.brokers.memory.shelf import Key
from longboat.brokers.memory.store import Store
from longboat.brokers.memory.usage import LimitUsage
from longboat.contract.base_pages import cursor_of, page_of, position_of, window
from longboat.core.constraints import JobLimit
from longboat.core.job import State
from longboat.core.views import ConsumerView, JobView, LimitView, Page, job_or_none, job_view


class MemoryInspector:
    def __init__(self, store: Store) -> None:
        self._store = store

    def counts(self) -> Mapping[tuple[str, State], int]:
        with self._store.locked():
            return {place: len(shelf) for place, shelf in self._store.shelves.items()}

    def find(self, ids: Sequence[str]) -> list[JobView | None]:
        with self._store.locked():
            return [_view(record) if (record := self._store.jobs.get(job_id)) else None for job_id in ids]

    def jobs(
        self, state: State, *, queue: str | None = None, task: str | None = None, after: str | None = None, limit: int = 100
    ) -> Page:
        with self._store.locked():
            rows = list(islice(self._from(state, queue, after), window(limit, task) + 1))
            return page_of(rows, limit, task, _view, lambda record: cursor_of(record.queue, *record.key[:-1]))

    def _from(self, state: State, queue: str | None, after: str | None) -> Iterable[Record]:
        """The jobs in this state, in order, behind `after`."""
        there = self._store.shelves
        if queue is not None:
            shelves = [(queue, there[queue, state])] if (queue, state) in there else []
        else:
            shelves = sorted(((name, shelf) for (name, its), shelf in there.items() if its is state), key=itemgetter(0))
        kinds = (int, float, int) if state is State.READY else (float, int)
        first, *key = position_of(after, str, *kinds) or [""]
        past = (*key, _Last()) if after else ()
        runs: Iterable[Key]
        if state is State.READY:
            behind = [(name, shelf) for name, shelf in shelves if name >= str(first)]
            runs = chain.from_iterable(shelf.above(past if name == first else ()) for name, shelf in behind)
        else:
            runs = heapq.merge(*(shelf.above(past) for _, shelf in shelves))
        return (key[-1] for key in runs)

    def consumers(self) -> list[ConsumerView]:
        with self._store.locked():
            return [
                ConsumerView(each.id, each.name, each.queues, len(each.held), each.deadline)
                for each in self._store.holders.values()
            ]

    def limits(self, keys: Sequence[str]) -> list[LimitView | None]:
        with self._store.locked() as now:
            usages = self._store.constraints.usages
            return [self._limit_view(usage, now) if (usage := usages.get(key)) else None for key in keys]

    def _limit_view(self, usage: LimitUsage, now: float) -> LimitView | None:
        usage.room(JobLimit(""), now)
        if usage.idle:
            return None
        holders = [record.id for record in islice(usage.held.values(), 10)]
        waiting = sum(len(jobs) for jobs in usage.blocked.values())
        opens = self._store.constraints.opens(usage, now)
        return LimitView(usage.key, len(usage.held), holders, waiting, len(usage.starts), opens)

    def cancel(self, ids: Sequence[str]) -> list[str]:
        cancelled = []
        with self._store.locked() as now:
            for job_id in ids:
                record = self._store.jobs.get(job_id)
                if record is None or record.state.ended or record.cancel_requested:
                    continue
                cancelled.append(job_id)
                if record.holder is None:
                    self._store.cancel(record, now)
                else:
                    record.cancel_requested = True
                    record.holder.cancelled += 1
            self._store.notify()
        return cancelled

    def retry(self, ids: Sequence[str]) -> list[str]:
        retried = []
        with self._store.locked() as now:
            for job_id in ids:
                record = self._store.jobs.get(job_id)
                if record is not None and record.state is State.DEAD:
                    record.attempts = record.worker_deaths = 0
                    record.expires = float("inf")
                    self._store.place(record, 0.0, now)
                    record.ended = 0.0
                    retried.append(job_id)
        return retried

    def purge(self, states: Collection[State], *, queue: str | None = None, limit: int = 1000) -> int:
        with self._store.locked() as now:
            records: list[Record] = []
            for (name, state), shelf in self._store.shelves.items():
                if state in states and state is not State.RUNNING and queue in (None, name):
                    records += [key[-1] for key in islice(shelf.above(()), limit - len(records))]
            for record in records:
                self._store.delete(record, now)
            return len(records)

    def prune(self, *, limit: int = 1000) -> int:
        with self._store.locked() as now:
            return self._store.prune(limit, now)


class _Last:
    """Greater than any record, so that a page goes on behind the one it ended with."""

    def __lt__(self, other: object) -> bool:
        return False

    def __gt__(self, other: object) -> bool:
        return True


def _view(record: Record) -> JobView:
    return job_view(
        job_or_none(record.message),
        record.message,
        id=record.id,
        state=record.state,
        queue=record.queue,
        attempts=record.attempts,
        failures=list(record.failures),
        priority=record.priority,
        due=record.due if record.state is State.SCHEDULED else None,
        started=record.started,
        ended=record.ended if record.state.ended else None,
        worker=(record.holder.name or record.holder.id) if record.holder else None,
        result=record.result,
    )
