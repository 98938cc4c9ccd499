"""Failures: gathers failed attempts that are alike, and stores each kind as one group."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from longboat.contract.kv import KV, Entry
from longboat.core.clock import SYSTEM
from longboat.core.codec import decoded
from longboat.core.job import Failure, Job
from longboat.errors import BrokerError
from longboat.observe.history import (
    FAILURES,
    FAILURES_KEPT,
    FAILURES_MOST,
    FailureGroup,
    failure_groups,
    fingerprint,
)
from longboat.observe.trend import added

GROUPS = 200
"""Groups that wait to be written, at most: where all messages differ, the rest is left out."""
PRUNE_EVERY = 60.0
"""Seconds between looks for surplus groups, if there were new ones."""
LONGEST = 1000
"""Characters of a message, at most."""


class _Seen(NamedTuple):
    times: int
    task: str
    failure: Failure
    """The last one."""
    job: str


class Failures:
    """`add` may be called from any thread; `write` belongs to one."""

    def __init__(self, kv: KV) -> None:
        self._kv = kv
        self._lock = threading.Lock()
        self._waiting: dict[str, _Seen] = {}
        """By fingerprint."""
        self._any_new = False
        self._prune_at = 0.0

    def add(self, job: Job, failure: Failure) -> None:
        name = fingerprint(job.task, failure)
        with self._lock:
            known = self._waiting.get(name)
            if known is not None or len(self._waiting) < GROUPS:
                self._waiting[name] = _Seen(known.times + 1 if known else 1, job.task, failure, job.id)

    def write(self) -> None:
        """Raises BrokerError; what is not written then waits for the next time."""
        with self._lock:
            waiting, self._waiting = self._waiting, {}
        try:
            if waiting:
                self._write(waiting)
            if self._any_new and SYSTEM.monotonic() >= self._prune_at:
                self._prune()
        except BrokerError:
            self._take_back(waiting)
            raise

    def _write(self, waiting: dict[str, _Seen]) -> None:
        """Takes out of `waiting` what is written."""
        values = self._kv.read(FAILURES, list(waiting))
        for (name, seen), value in zip(list(waiting.items()), values, strict=True):
            while not self._compare_and_set(name, seen, value):
                value = self._kv.read(FAILURES, [name])[0]
            del waiting[name]

    def _compare_and_set(self, name: str, seen: _Seen, old: bytes | None) -> bool:
        group = decoded(old, FailureGroup)
        failure = seen.failure
        if group is None:
            self._any_new = True
            group = FailureGroup(name, failure.type, "", seen.task, 0, failure.at, failure.at, seen.job)
        group.message, group.last, group.job = failure.message[:LONGEST], failure.at, seen.job
        group.count += seen.times
        group.trend = added(group.trend, failure.at, seen.times)
        return self._kv.compare_and_set(FAILURES, Entry(name, msgspec.msgpack.encode(group), FAILURES_KEPT), old=old)

    def _prune(self) -> None:
        """Several workers may do this at the same time: they find the same surplus."""
        self._prune_at = SYSTEM.monotonic() + PRUNE_EVERY
        surplus = failure_groups(self._kv)[FAILURES_MOST:]
        if surplus:
            self._kv.write(FAILURES, [Entry(group.fingerprint, None) for group in surplus])
        self._any_new = False

    def _take_back(self, waiting: Mapping[str, _Seen]) -> None:
        with self._lock:
            for name, seen in waiting.items():
                newer = self._waiting.get(name)
                if newer is not None:
                    self._waiting[name] = newer._replace(times=newer.times + seen.times)
                elif len(self._waiting) < GROUPS:
                    self._waiting[name] = seen
