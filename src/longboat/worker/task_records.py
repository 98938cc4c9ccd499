"""TaskRecordWriter: tells what this worker's tasks are, for those who enqueue by name and for the limits of queued jobs."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from longboat.contract import limit_numbers
from longboat.contract.kv import KV, Entry
from longboat.core.clock import SYSTEM
from longboat.tasks.limits import names_of
from longboat.tasks.record import KEPT, NAMESPACE, TaskRecord, decoded, record_of
from longboat.tasks.registry import Registry

EVERY = 60.0
"""Seconds between rounds. The second one comes sooner: a worker that began before may have written at the same moment."""
SOON = 2.0
BELIEVED = 3 * EVERY
"""Seconds after its last round that a worker which began later than this one is left the word."""


class TaskRecordWriter:
    """A maintenance task. Of all workers that know a task, the one that began last says what it is."""

    def __init__(self, kv: KV, registry: Registry) -> None:
        self._kv = kv
        self._registry = registry
        self._since = SYSTEM.now()
        self._due = 0.0

    def run(self, now: float) -> float:
        if now < self._due <= now + EVERY:
            return self._due
        tasks = list(self._registry.tasks.values())
        numbers: list[Entry] = []
        records: list[Entry] = []
        for task, value in zip(tasks, self._kv.read(NAMESPACE, [task.name for task in tasks]), strict=True):
            record = record_of(task.template, task.arguments.parameters, task.__doc__)
            record = msgspec.structs.replace(record, since=self._since, told=now)
            known = decoded(value)
            if known is None or self._has_the_word(known, record):
                numbers += _numbers(task.name, known, record)
                records.append(Entry(task.name, msgspec.msgpack.encode(record), KEPT))
        self._kv.write(limit_numbers.NAMESPACE, numbers)
        self._kv.write(NAMESPACE, records)
        self._due = now + (EVERY if self._due else SOON)
        return self._due

    @staticmethod
    def _has_the_word(known: TaskRecord, own: TaskRecord) -> bool:
        """Whether this worker writes: the other one began before it and says something else, or has not told for long."""
        if known.since == own.since or known.told < own.told - BELIEVED:
            return True
        return known.since < own.since and msgspec.structs.replace(known, since=own.since, told=own.told) != own


def _numbers(task: str, known: TaskRecord | None, own: TaskRecord) -> Iterator[Entry]:
    """The numbers of the task's limits, for the jobs that are queued with others.

    A limit that the task had before and has no more holds nothing back, unless another stands in its place: then it has that
    one's numbers.
    """
    names = names_of(task, own.limits)
    present = dict(zip(names, own.limits, strict=True))
    before = names_of(task, known.limits) if known is not None else []
    instead = own.limits if len(before) == len(names) else (None,) * len(before)
    for name, limit in [
        *present.items(),
        *((old, new) for old, new in zip(before, instead, strict=True) if old not in present),
    ]:
        yield Entry(name, limit_numbers.numbers(*limit.numbers) if limit else limit_numbers.numbers(), KEPT)
