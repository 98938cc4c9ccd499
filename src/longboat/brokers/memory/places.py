"""Where records stand: one shelf for each (queue, state), what waits for a worker or for time, and what is remembered."""

from __future__ import annotations

import itertools
import math
import threading
from typing import TypeVar

from longboat.brokers.memory.record import Record
from longboat.brokers.memory.shelf import Key, Shelf
from longboat.contract.base_keep import kept_for
from longboat.core.clock import Clock
from longboat.core.job import State

T = TypeVar("T")


class Places:
    """Everything here runs with `changed` held."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.changed = threading.Condition()
        self.version = 0
        """Grows with each `notify`: so a waiter knows that something happened since it looked."""
        self.jobs: dict[str, Record] = {}
        self.shelves: dict[tuple[str, State], Shelf] = {}
        self.parked: dict[tuple[str, str], Shelf] = {}
        """Parked jobs again, by queue and task, in the order they are received in."""
        self.alarms = Shelf()
        """(when, serial, record, holder or limit): when time alone changes it."""
        self.over = Shelf()
        """(when, serial, record): when an ended job may be forgotten."""
        self.memories: dict[str, float] = {}
        """Ids chosen by callers whose jobs are gone, and until when they are remembered."""
        self.serials = itertools.count(1)

    def notify(self) -> None:
        self.version += 1
        self.changed.notify_all()

    def known(self, job_id: str, now: float) -> bool:
        return job_id in self.jobs or self.memories.get(job_id, 0.0) > now

    def place(self, record: Record, delay: float, now: float) -> None:
        """It waits for its parents; or it is scheduled, or ready."""
        if record.pending:
            record.due = math.inf
            self.move(record, State.WAITING)
            return
        record.due = now + delay
        self.move(record, State.SCHEDULED if delay > 0 else State.READY)

    def move(self, record: Record, state: State) -> None:
        """Take the record off its shelf and put it on another."""
        self.take(record)
        record.state = state
        record.started = record.started if state is State.RUNNING or state.ended else None
        record.key = record.state_key()
        self.shelves.setdefault((record.queue, state), Shelf()).add(record.key)
        if state is State.WAITING and record.parked is not None:
            self.parked.setdefault((record.queue, record.task), Shelf()).add(record.ready_key())
        elif state is State.WAITING and record.blocked is not None:
            record.due = math.inf
            record.blocked.block(record.queue, record.ready_key())
        if state.ended:
            self.over.add(_over_key(record))
        elif state is not State.RUNNING:
            when = record.expires if state is State.READY else min(record.due, record.expires)
            if when < math.inf:
                record.alarm = (when, record.serial, record)
                self.alarms.add(record.alarm)
            self.notify()

    def take(self, record: Record) -> None:
        if not record.key:
            return
        _drop(self.shelves, (record.queue, record.state), record.key)
        record.key = ()
        if record.state is State.WAITING and record.parked is not None:
            _drop(self.parked, (record.queue, record.task), record.ready_key())
        elif record.state is State.WAITING and record.blocked is not None:
            record.blocked.unblock(record.queue, record.ready_key())
            record.blocked = None
        if record.state.ended:
            self.over.remove(_over_key(record))
        if record.alarm:
            self.alarms.remove(record.alarm)
            record.alarm = ()


def _over_key(record: Record) -> Key:
    return (record.ended + kept_for(record.state, record.keep), record.serial, record)


def _drop(shelves: dict[T, Shelf], name: T, key: Key) -> None:
    shelf = shelves[name]
    shelf.remove(key)
    if not shelf:
        del shelves[name]
