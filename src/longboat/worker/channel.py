"""Channel: what a worker process and its supervisor tell each other, as lines over two pipes."""

from __future__ import annotations

import os
import select
from collections.abc import Iterator

from longboat.executors.timed_calls import TimedCalls

STOP = "stop"
"""Supervisor: finish what runs, within the grace."""
NOW = "now"
"""Supervisor: hand back and exit."""
RETIRE = "retire"
"""Supervisor: take no more jobs, finish what runs however long it takes, then exit."""
LOAD = "load"
"""Worker, with its load: see scaler.py."""
WORN = "worn"
"""Worker: a call cannot be ended here. It takes no more jobs, finishes what runs however long it takes, then exits;
another is to take its place now."""
LEAVING = "leaving"
"""Worker: somebody commanded it to stop. It finishes what runs within the grace, and no other is to take its place."""
FAILED = "failed"
"""Worker, with the reason: one of its threads ended by an error. It hands back its jobs and exits."""
BEAT = "beat"
"""Worker: it is alive."""
CONSUMER = "consumer"
"""Worker, with the id of a new consumer."""
BROKER = "broker"
"""Worker, with the broker's URL, before it names a consumer: its app is imported and the broker answered."""
BYE = "bye"
"""Worker: it is done and exits on its own. A process that ends without this word was brought down by a task."""


class Channel:
    """One end. Reading by `lines` blocks; `poll` does not."""

    def __init__(self, read: int, write: int, timed: TimedCalls) -> None:
        self.read = read
        self.timed = timed
        """What runs in the worker's threads, in memory that both ends share."""
        self._write = write
        self._rest = b""

    def send(self, word: str, text: str = "") -> None:
        """Tell the other end, if it is still there."""
        try:
            # Joined, not formatted: a URL formats itself without its password.
            os.write(self._write, " ".join((word, text)).strip().encode() + b"\n")
        except OSError:
            return

    def poll(self) -> list[tuple[str, str]] | None:
        """What came, after `read` was found readable; None once the other end is gone."""
        try:
            data = os.read(self.read, 65536)
        except BlockingIOError:
            return []
        if not data:
            return None
        *lines, self._rest = (self._rest + data).split(b"\n")
        parts = [line.decode().partition(" ") for line in lines]
        return [(word, text) for word, _, text in parts]

    def lines(self) -> Iterator[tuple[str, str]]:
        """What comes, until the other end is gone."""
        while (found := self.poll()) is not None:
            yield from found

    def waits(self, seconds: float) -> bool:
        """Wait for so many seconds; whether something came, which is left to be read, or the other end is gone."""
        return bool(select.select([self.read], [], [], seconds)[0])

    def close(self) -> None:
        os.close(self.read)
        os.close(self._write)


def pair() -> tuple[Channel, Channel]:
    """Two ends."""
    timed = TimedCalls()
    first_read, second_write = os.pipe()
    second_read, first_write = os.pipe()
    return Channel(first_read, first_write, timed), Channel(second_read, second_write, timed)
