"""ProgressWriter: stores what running jobs say of themselves: progress and log lines, a few times a second at most."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from itertools import islice

import msgspec

from longboat.contract.kv import KV, Entry
from longboat.errors import BrokerError, Unsupported
from longboat.tasks.current import STEPS, STEPS_KEPT
from longboat.tasks.handle import LOGS, PROGRESS, LogLine, Progress

KEPT = 86400.0
"""Seconds that progress and lines are kept."""
WRITE_EVERY = 0.4
LINES = 1000
"""Lines kept of one attempt, at most: the first ones."""
LONGEST = 4000
"""Characters of a line, at most."""
BACKLOG = 20_000
"""Lines of all jobs together that wait to be written, at most: more are dropped while the broker fails."""
MOST_LINES = 50_000
"""Lines that one process keeps stored, at most: the newest."""
MOST_PROGRESS = 20_000
"""Jobs whose progress one process keeps stored, at most: those that reported some last."""


class ProgressWriter:
    """A maintenance task, and the job channel of what runs in this process. Safe to use from any thread."""

    def __init__(
        self, kv: KV, worker: str = "", progressed: Callable[[Mapping[str, Progress]], None] = lambda _: None
    ) -> None:
        self.worker = worker
        self._kv = kv
        self._progressed = progressed
        self._lock = threading.Lock()
        self._turn = threading.Lock()
        """Of whoever writes: what is newer is written later."""
        self._progress: dict[str, Progress] = {}
        self._lines: dict[str, list[tuple[int, LogLine]]] = {}
        """By job, each with its number in its attempt."""
        self._counts: dict[tuple[str, int], int] = {}
        self._waiting = 0
        self._written: deque[tuple[str, str]] = deque()
        """Job and key of each line that was written, the oldest first."""
        self._shown: dict[str, None] = {}
        """Jobs whose progress was written, the most recent at the end."""
        self._deaf = False
        """This broker has no key-value store."""

    def progress(self, job_id: str, progress: Progress) -> None:
        progress.text = _cut(progress.text)
        with self._lock:
            if not self._deaf:
                self._progress[job_id] = progress

    def latest(self, job_id: str) -> Progress | None:
        """The newest progress of the job, if it is not stored yet."""
        return self._progress.get(job_id)

    def log(self, job_id: str, line: LogLine) -> None:
        with self._lock:
            count = self._counts.get((job_id, line.attempt), 0)
            if count >= LINES or self._waiting >= BACKLOG or self._deaf:
                return
            if count == LINES - 1:
                line = LogLine(line.at, "WARNING", f"more than {LINES} lines: the rest is left out", line.attempt)
            line.text = _cut(line.text)
            self._counts[job_id, line.attempt] = count + 1
            self._lines.setdefault(job_id, []).append((count, line))
            self._waiting += 1

    def steps(self, job_id: str) -> dict[str, bytes]:
        return dict(self._kv.entries(STEPS + job_id, limit=10_000))

    def finish(self, job_id: str, step: str, result: bytes) -> None:
        self._kv.write(STEPS + job_id, [Entry(step, result, STEPS_KEPT)])

    @property
    def unwritten(self) -> bool:
        """Whether there may be progress that is not stored yet."""
        return bool(self._progress) or self._turn.locked()

    def write(self, job_ids: Iterable[str]) -> None:
        """Store the newest progress of these jobs now, as they end. What the broker does not take, `run` stores later."""
        with contextlib.suppress(BrokerError):
            self._write_progress(job_ids)

    def run(self, now: float) -> float:
        self._write_progress(None)
        self._write_lines()
        return now + WRITE_EVERY

    def _write_progress(self, job_ids: Iterable[str] | None) -> None:
        """None: of all jobs."""
        with self._turn:
            with self._lock:
                if job_ids is None:
                    taken, self._progress = self._progress, {}
                else:
                    taken = {job_id: self._progress.pop(job_id) for job_id in job_ids if job_id in self._progress}
            try:
                if taken:
                    self._show(taken)
            except Unsupported:
                self._deaf = True
                raise
            except BrokerError:
                with self._lock:
                    self._progress = {**taken, **self._progress}
                raise

    def _show(self, progress: dict[str, Progress]) -> None:
        self._progressed(progress)
        encode = msgspec.msgpack.encode
        self._kv.write(PROGRESS, [Entry(job_id, encode(said), KEPT) for job_id, said in progress.items()])
        for job_id in progress:
            self._shown.pop(job_id, None)
            self._shown[job_id] = None
        if (more := len(self._shown) - MOST_PROGRESS) > 0:
            gone = list(islice(self._shown, more))
            self._kv.write(PROGRESS, [Entry(job_id, None) for job_id in gone])
            for job_id in gone:
                del self._shown[job_id]

    def _write_lines(self) -> None:
        with self._lock:
            lines, self._lines = self._lines, {}
            if len(self._counts) > BACKLOG:
                self._counts.clear()
        try:
            for job_id, said in list(lines.items()):
                entries = [_entry(number, line) for number, line in said]
                self._kv.write(LOGS + job_id, entries)
                self._written.extend((job_id, entry.key) for entry in entries)
                del lines[job_id]
                with self._lock:
                    self._waiting -= len(said)
            self._prune()
        except Unsupported:
            self._deaf = True
            raise
        except BrokerError:
            with self._lock:
                for job_id, said in lines.items():
                    self._lines[job_id] = [*said, *self._lines.get(job_id, ())]
            raise

    def _prune(self) -> None:
        """Delete the lines that are too many. What an earlier process wrote is deleted by its age."""
        gone: dict[str, list[Entry]] = {}
        for _ in range(len(self._written) - MOST_LINES):
            job_id, key = self._written.popleft()
            gone.setdefault(LOGS + job_id, []).append(Entry(key, None))
        for namespace, entries in gone.items():
            self._kv.write(namespace, entries)


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def _entry(number: int, line: LogLine) -> Entry:
    return Entry(f"{line.attempt:04d}:{line.at:017.6f}:{number:04d}", msgspec.msgpack.encode(line), KEPT)
