"""History: counts and latencies by time, failures by fingerprint, workers. Written by workers, read by pages and commands.

Everything hangs on the board. A worker adds up what it did and writes notes of its own, so that nothing is contended;
who reads adds the workers' notes up.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator
from hashlib import sha256

import msgspec

from longboat.board import Board
from longboat.job import Failure

EDGES = tuple(round(base * 10.0**power, 9) for power in range(-4, 5) for base in (1.0, 2.0, 5.0))
"""Upper bounds in seconds of the histograms' buckets, from 0.1 ms to 50,000 s; one more bucket stands for what is above."""

WORKERS = "worker"
WORKER_KEPT = 10.0
"""Seconds that a worker's card is believed."""
FAILURES = "failures"
FAILURES_KEPT = 30 * 86400.0


class Grain(msgspec.Struct, frozen=True):
    """One resolution of the history."""

    space: str
    width: float
    """Seconds of one bucket of time."""
    keep: float


GRAINS = (
    Grain("history.10s", 10.0, 2 * 3600.0),
    Grain("history.1m", 60.0, 72 * 3600.0),
    Grain("history.1h", 3600.0, 90 * 86400.0),
)


class Tally(msgspec.Struct, array_like=True):
    """What became of attempts of one task in one queue, in one bucket of time."""

    succeeded: int = 0
    retried: int = 0
    dead: int = 0
    cancelled: int = 0
    wait: list[int] = []
    """By bucket of EDGES: seconds from when a job could start until it did. Cut off behind the last that is not 0."""
    run: list[int] = []
    """By bucket of EDGES: seconds that attempts took."""

    def add(self, other: Tally) -> None:
        self.succeeded += other.succeeded
        self.retried += other.retried
        self.dead += other.dead
        self.cancelled += other.cancelled
        self.wait = _added(self.wait, other.wait)
        self.run = _added(self.run, other.run)

    @property
    def ended(self) -> int:
        return self.succeeded + self.retried + self.dead + self.cancelled


Slice = dict[tuple[str, str], Tally]
"""By (queue, task): one bucket of time."""


class WorkerCard(msgspec.Struct):
    """A worker as it shows itself, every other second."""

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
    """By executor: how many run at a time."""
    running: list[tuple[str, str, float]]
    """(job id, task, wall-clock start) of what runs now, the longest first, at most 100."""
    ended: int
    memory: int
    """Bytes resident."""
    stopping: bool = False


class FailureGroup(msgspec.Struct):
    """Failed attempts that are alike."""

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


def bucket_of(seconds: float) -> int:
    """The place in a histogram."""
    return bisect_left(EDGES, seconds)


def quantile(histogram: list[int], part: float) -> float | None:
    """About the value that this part of the samples is below, such as 0.95; None without samples."""
    wanted, total = sum(histogram) * part, 0
    for place, count in enumerate(histogram):
        total += count
        if count and total >= wanted:
            return EDGES[min(place, len(EDGES) - 1)]
    return None


def note_key(start: float, worker: str) -> str:
    """The key of a worker's note for the bucket of time that begins then."""
    return f"{int(start):012d}:{worker}"


def slices(board: Board, grain: Grain, since: float, until: float) -> Iterator[tuple[float, Slice]]:
    """Buckets of time in order, each with what all workers did: those that begin in [since, until)."""
    after, before = f"{max(0, int(since)) - 1:012d}~" if since >= 1 else "", f"{int(until):012d}"
    current: tuple[float, Slice] | None = None
    while notes := board.notes(grain.space, after=after, before=before, limit=500):
        for key, value in notes:
            start = float(key.partition(":")[0])
            if current is None or current[0] != start:
                if current is not None:
                    yield current
                current = start, {}
            for queue, task, tally in msgspec.msgpack.decode(value, type=list[tuple[str, str, Tally]]):
                current[1].setdefault((queue, task), Tally()).add(tally)
        after = notes[-1][0]
    if current is not None:
        yield current


def workers(board: Board) -> list[WorkerCard]:
    """Those that showed themselves lately, by name."""
    return [msgspec.msgpack.decode(value, type=WorkerCard) for _, value in board.notes(WORKERS)]


def failure_groups(board: Board) -> list[FailureGroup]:
    """The latest first."""
    found: list[FailureGroup] = []
    after = ""
    while notes := board.notes(FAILURES, after=after):
        found += [msgspec.msgpack.decode(value, type=FailureGroup) for _, value in notes]
        after = notes[-1][0]
    return sorted(found, key=lambda group: -group.last)


def fingerprint(task: str, failure: Failure) -> str:
    """The same for failures that are alike: task, type, the place in the code, and the message without its numbers."""
    frames = [line.strip() for line in failure.traceback.splitlines() if line.startswith("  File ")]
    place = re.sub(r", line \d+", "", frames[-1]) if frames else ""
    message = re.sub(r"0x[0-9a-f]+|\d+|'[^']*'|\"[^\"]*\"", "#", failure.message)[:300]
    return sha256("\0".join((task, failure.type, place, message)).encode()).hexdigest()[:16]


def _added(one: list[int], other: list[int]) -> list[int]:
    if len(one) < len(other):
        one, other = other, one
    return [count + (other[place] if place < len(other) else 0) for place, count in enumerate(one)]
