"""History: counts and latencies by time, failures by fingerprint, workers. Written by workers, read by pages and commands.

It is all kept in the broker's key-value entries. Each worker adds up what it did and writes its own entries, so that nothing
is contended; readers add up the entries of all workers.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from hashlib import sha256
from itertools import count as numbers
from typing import TypeVar

import msgspec

from longboat.contract.kv import KV
from longboat.core.codec import decoded
from longboat.core.job import Failure
from longboat.observe.tally import Slice, add_up, slice_of
from longboat.observe.trend import Trend, count_since

WORKERS = "worker"
WORKER_KEPT = 10.0
"""Seconds after its last heartbeat that a worker counts as alive."""
FAILURES = "failures"
FAILURES_KEPT = 30 * 86400.0
FAILURES_MOST = 1000
"""About how many groups of failures are kept: the most recent ones."""

T = TypeVar("T")
_ALIKE = re.compile(r"""'[^']*'|"[^"]*"|\b[0-9a-fA-F]{8,}\b|\w*\d\w*""")
"""Where the messages of similar failures may differ: numbers, ids, quoted text."""
_READ = 1000
"""Characters of a message that are compared, at most."""


class Grain(msgspec.Struct, frozen=True):
    """One resolution of the history."""

    namespace: str
    width: float
    """Seconds of one time bucket."""
    keep: float


GRAINS = (
    Grain("history.10s", 10.0, 2 * 3600.0),
    Grain("history.1m", 60.0, 72 * 3600.0),
    Grain("history.1h", 3600.0, 90 * 86400.0),
)


class WorkerRecord(msgspec.Struct):
    """What a worker writes about itself every other second."""

    name: str
    consumer: str
    """The id of its consumer."""
    host: str
    pid: int
    version: str
    started: float
    queues: list[str]
    tasks: list[str]
    slots: dict[str, int]
    """How many jobs run at a time, by executor."""
    running: list[tuple[str, str, float]]
    """(job id, task, wall-clock start) of running jobs, the longest-running first, at most 100."""
    ended: int
    memory: int
    """Resident bytes."""
    state: str = "working"
    """working, quiet (it was told to take no more jobs), blocked (its event loop is), stopping."""
    schedules: list[str] = []
    """Names of those in its code."""
    id: str = ""
    """The key of this record, and that of commands to the worker: its own, unlike a name."""
    leased: dict[str, int] = {}
    """By queue: how many jobs it has received that have not ended, whether they have started or not."""
    cpu: float | None = None
    """Seconds of CPU that its process took in one second lately, its child processes apart. None: not told yet."""
    python: str = ""
    """The version of the interpreter."""
    app_version: str = ""
    """The version of the app, as LONGBOAT_VERSION tells it; empty: it does not."""
    in_use: dict[str, int] = {}
    """How many of the slots are taken, by executor."""


class FailureGroup(msgspec.Struct):
    """Similar failed attempts."""

    fingerprint: str
    type: str
    message: str
    """Of the latest one."""
    task: str
    count: int
    first: float
    last: float
    """Wall-clock times."""
    job: str
    """The id of the latest job."""
    trend: Trend = []
    """How often, by time."""

    def since(self, at: float) -> int:
        """How many attempts have failed so from then on: exact if none has before, else by the steps of its trend."""
        return self.count if self.first >= at else count_since(self.trend, at)


def note_key(start: float, writer: str) -> str:
    """The key of an entry for the time bucket that begins then. Every writer needs its own name."""
    return f"{int(start):012d}:{writer}"


def pages(kv: KV, namespace: str, after: str = "", before: str | None = None) -> Iterator[Sequence[tuple[str, bytes]]]:
    """All entries of a namespace between two keys, a few hundred at a time."""
    while entries := kv.entries(namespace, after=after, before=before, limit=500):
        yield entries
        after = entries[-1][0]


def noted(kv: KV, namespace: str, since: float, until: float) -> Iterator[tuple[float, str, Slice]]:
    """The entries of time buckets that begin in [since, until), in order: start, key and counts.

    Entries that cannot be decoded, say from another version, are skipped.
    """
    after = f"{math.ceil(since) - 1:012d}~" if since > 0 else ""
    for entries in pages(kv, namespace, after, f"{max(0, math.ceil(until)):012d}"):
        for key, value in entries:
            slice_ = slice_of(value)
            if slice_ is not None:
                yield float(key.partition(":")[0]), key, slice_


def slices(kv: KV, grain: Grain, since: float, until: float) -> Iterator[tuple[float, Slice]]:
    """The time buckets that begin in [since, until), in order, each with what all workers did."""
    current: tuple[float, Slice] | None = None
    for start, _, slice_ in noted(kv, grain.namespace, since, until):
        if current is None or current[0] != start:
            if current is not None:
                yield current
            current = start, {}
        add_up(current[1], slice_)
    if current is not None:
        yield current


def recent(kv: KV, since: float, until: float, grain: Grain = GRAINS[0]) -> Slice:
    """What all workers did in the time buckets that begin in [since, until), together."""
    found: Slice = {}
    for _, slice_ in slices(kv, grain, since, until):
        add_up(found, slice_)
    return found


def workers(kv: KV) -> list[WorkerRecord]:
    """The living workers, by name. A name that several have, as containers do, gets a number for those that began later."""
    records = sorted(_all(kv, WORKERS, WorkerRecord), key=lambda record: record.started)
    names = {record.name for record in records}
    first: set[str] = set()
    for record in records:
        own = record.name
        if own in first:
            record.name = next(name for n in numbers(2) if (name := f"{own}-{n}") not in names)
            names.add(record.name)
        first.add(own)
    return sorted(records, key=lambda record: record.name)


def failure_groups(kv: KV) -> list[FailureGroup]:
    """Latest first."""
    return sorted(_all(kv, FAILURES, FailureGroup), key=lambda group: -group.last)


def newest(kv: KV, namespace: str, kind: type[T], limit: int, after: str = "") -> list[T]:
    """The last `limit` entries behind this key, newest first, without those that cannot be read."""
    found: list[bytes] = []
    for entries in pages(kv, namespace, after):
        found = [*found, *(value for _, value in entries)][-limit:]
    return [each for value in reversed(found) if (each := decoded(value, kind)) is not None]


def _all(kv: KV, namespace: str, kind: type[T]) -> list[T]:
    found = (decoded(value, kind) for entries in pages(kv, namespace) for _, value in entries)
    return [each for each in found if each is not None]


def fingerprint(task: str, failure: Failure) -> str:
    """The same for similar failures: task, type, place in the code, and the message without its numbers."""
    frames = [line.strip() for line in failure.traceback.splitlines() if line.startswith("  File ")]
    place = re.sub(r", line \d+", "", frames[-1]) if frames else ""
    message = _ALIKE.sub("#", failure.message[:_READ])[:300]
    return sha256("\0".join((task, failure.type, place, message)).encode()).hexdigest()[:16]
