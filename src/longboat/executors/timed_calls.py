"""TimedCalls: which calls with a time limit run in which threads, in memory that a worker shares with its supervisor.

A function that computes in C without letting go of the interpreter's lock stops every thread of its process, also the one
that keeps its time. Only the supervisor can then tell who it was.
"""

from __future__ import annotations

import mmap
import struct
import time
from threading import get_native_id
from typing import NamedTuple

SLOT = struct.Struct("<dQIH255s")
"""Monotonic time by which the call must have ended (0.0: none runs), thread, attempt, bytes of the job's id, the id."""
_pack = SLOT.pack_into
_clear = struct.Struct("<d").pack_into

MOST = 256
"""Calls that are shown at a time; others are not found."""
SAMPLE = 0.1
"""Seconds in which a thread that computes is seen to do so."""


class TimedCall(NamedTuple):
    job: str
    attempt: int


class TimedCalls:
    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, MOST * SLOT.size)
        self._free = list(range(0, MOST * SLOT.size, SLOT.size))

    def begin(self, due: float, job: str, attempt: int) -> int:
        """Show the call that begins in this thread; returns what `end` needs."""
        try:
            place = self._free.pop()
        except IndexError:
            return -1
        name = job.encode()[:255]
        _pack(self._memory, place, due, get_native_id(), attempt, len(name), name)
        return place

    def end(self, place: int) -> None:
        if place >= 0:
            _clear(self._memory, place, 0.0)
            self._free.append(place)

    def overrun(self, pid: int) -> TimedCall | None:
        """The call of that process whose time is over and whose thread computes. None if there is none, or no /proc."""
        now, before = time.monotonic(), {}
        for due, thread, attempt, size, name in SLOT.iter_unpack(self._memory):
            if 0.0 < due < now:
                before[thread] = _processor_time(pid, thread), TimedCall(name[:size].decode(errors="replace"), attempt)
        if before:
            time.sleep(SAMPLE)
        used = {thread: _processor_time(pid, thread) - ticks for thread, (ticks, _) in before.items()}
        busiest = max(used, key=lambda thread: used[thread], default=0)
        return before[busiest][1] if used.get(busiest, 0) > 0 else None


def _processor_time(pid: int, thread: int) -> int:
    """In clock ticks."""
    try:
        with open(f"/proc/{pid}/task/{thread}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return 0
    return int(fields[11]) + int(fields[12])
