"""The memory broker's results and its inspector: what is read of it, and an operator's changes."""

from __future__ import annotations

import heapq
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice

from longboat.brokers.memory.bonds import NO_TIES, Bonds
from longboat.brokers.memory.limit import LimitUsage
from longboat.brokers.memory.shelf import Key
from longboat.brokers.memory.store import Record, Store
from longboat.core.codec import decode_job
from longboat.core.constraints import JobLimit
from longboat.core.job import ENDED, Result, State
from longboat.core.views import ConsumerView, JobView, LimitView, Page
from longboat.errors import ConfigError, Undecodable

LOOKED_AT = 1000
"""Jobs that one page of a single task's looks at, at most."""


class MemoryResults:
    def __init__(self, store: Store) -> None:
        self._store = store

    def get(self, ids: Sequence[str]) -> list[Result | None]:
        with self._store.locked():
            return [_result(self._store, job_id) for job_id in ids]

    def listen(self) -> MemoryListener:
        return MemoryListener(self._store)


class MemoryListener:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._watched: set[str] = set()
        self._told: dict[str, Result] = {}
        self._woken = False
        self._closed = False

    def tell(self, result: Result) -> None:
        self._watched.discard(result.id)
        self._told[result.id] = result

    def watch(self, ids: Sequence[str]) -> None:
        with self._store.locked():
            for job_id in ids:
                if result := _result(self._store, job_id):
                    self.tell(result)
                else:
                    self._watched.add(job_id)
                    self._store.watchers.setdefault(job_id, set()).add(self)
            self._store.changed.notify_all()

    def forget(self, ids: Sequence[str]) -> None:
        with self._store.locked():
            for job_id in ids:
                self._told.pop(job_id, None)
                self._watched.discard(job_id)
                others = self._store.watchers.get(job_id, set())
                others.discard(self)
                if not others:
                    self._store.watchers.pop(job_id, None)

    def wait(self, timeout: float) -> list[Result]:
        store = self._store
        end = store.clock.monotonic() + timeout
        while True:
            with store.locked() as now:
                left = end - store.clock.monotonic()
                if self._told or self._woken or self._closed or left <= 0:
                    self._woken = False
                    told, self._told = self._told, {}
                    return list(told.values())
                alarm = store.alarms.first()
                store.changed.wait(left if alarm is None else min(left, max(0.0, alarm[0] - now)))

    def wake(self) -> None:
        with self._store.changed:
            self._woken = True
            self._store.changed.notify_all()

    def close(self) -> None:
        self.forget(list(self._watched))
        with self._store.changed:
            self._closed = True
            self._store.changed.notify_all()


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
            looked_at = limit if task is None else max(limit, LOOKED_AT)
            found: list[Record] = []
            last: Record | None = None
            for record in islice(self._from(state, queue, after), looked_at + 1):
                if len(found) == limit or looked_at == 0:
                    return Page([_view(each) for each in found], _after(last or record))
                looked_at -= 1
                last = record
                if task is None or record.task == task:
                    found.append(record)
            return Page([_view(each) for each in found], None)

    def _from(self, state: State, queue: str | None, after: str | None) -> Iterator[Record]:
        shelves = sorted(
            ((name, shelf) for (name, its), shelf in self._store.shelves.items() if its is state and queue in (None, name)),
            key=lambda pair: pair[0],
        )
        start = _position(after) if after else ("",)
        past = (*start[1:], _Last()) if after else ()
        runs: Iterable[Key]
        if state is State.READY:
            runs = chain.from_iterable(
                shelf.above(past if name == start[0] else ()) for name, shelf in shelves if name >= start[0]
            )
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
            bonds = self._store.bonds
            return [_limit_view(bonds, usage, now) if (usage := bonds.usages.get(key)) else None for key in keys]

    def cancel(self, ids: Sequence[str]) -> list[str]:
        cancelled = []
        with self._store.locked() as now:
            for job_id in ids:
                record = self._store.jobs.get(job_id)
                if record is None or record.state.ended or record.unwanted:
                    continue
                cancelled.append(job_id)
                if record.holder is None:
                    self._store.cancel(record, now)
                else:
                    record.unwanted = record.holder.nudged = True
            self._store.changed.notify_all()
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


def _after(record: Record) -> str:
    return json.dumps([record.queue, *record.key[:-1]])


def _position(after: str) -> Key:
    try:
        found = json.loads(after)
    except ValueError:
        found = None
    if not isinstance(found, list) or not found or not isinstance(found[0], str):
        raise ConfigError(f"after: {after!r} is no page's `after`")
    if not all(isinstance(each, int | float) for each in found[1:]):
        raise ConfigError(f"after: {after!r} is no page's `after`")
    return tuple(found)


def _result(store: Store, job_id: str) -> Result | None:
    record = store.jobs.get(job_id)
    return record.outcome() if record and record.state in ENDED else None


def _view(record: Record) -> JobView:
    try:
        job = decode_job(record.message)
        payload, enqueued, headers = job.payload, job.enqueued, job.headers
    except Undecodable:
        payload, enqueued, headers = record.message, None, {}
    return JobView(
        record.id,
        record.state,
        record.queue,
        record.task,
        record.priority,
        record.attempts,
        payload,
        enqueued=enqueued,
        due=record.due if record.state is State.SCHEDULED else None,
        started=record.started,
        ended=record.ended if record.state.ended else None,
        worker=(record.holder.name or record.holder.id) if record.holder else None,
        result=record.result,
        failures=list(record.failures),
        constraints=None if record.constraints is NO_TIES else record.constraints,
        headers=headers,
    )


def _limit_view(bonds: Bonds, usage: LimitUsage, now: float) -> LimitView | None:
    usage.room(JobLimit(""), now)
    if usage.idle:
        return None
    holders = [record.id for record in islice(usage.held.values(), 10)]
    waiting = sum(len(line) for line in usage.lines.values())
    return LimitView(usage.key, len(usage.held), holders, waiting, len(usage.starts), bonds.opens(usage, now))
