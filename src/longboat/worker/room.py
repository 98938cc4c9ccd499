"""Room: how many jobs a worker can start soon, by executor. What waits too long for a slot goes back to its queue."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from time import monotonic

from longboat.contract.broker import Lease
from longboat.executors.base import Executor
from longboat.worker.executor_set import ExecutorSet
from longboat.worker.in_flight import InFlight

AHEAD = 0.1
"""Seconds of work that may be in hand beside what runs."""
MOST = 2000
"""Jobs in one receive, at most."""
BYTES = 4_000_000
"""Of the arguments that one receive brings, about."""
UNKNOWN, FEW = 100, 8
"""Jobs in one receive, at most, while nobody knows how big they are, and after one that failed."""
_WEIGHED = 16
"""Jobs of one receive that are weighed."""
RARE = 0.002
"""The least share of the jobs that an executor is assumed to have: two idle children then allow receives of 1,000. If the
jobs change suddenly, those that are too many for it go back."""
PAST = 50
"""Jobs that cannot start soon and stand first in the queue, past which others are looked for."""
RATE_OVER = 0.1
"""Seconds over which a rate is measured, at least."""
RATE_DRY = 0.005
"""The same between two moments at which every slot is free: whole rounds, so that a fast queue is known at once."""
DISTRUST = 0.25
"""What is left of the trust in a rate when jobs taken because of it had to go back."""
REGAIN = 1.5
"""By this the trust grows with each rate measured."""


class Pace:
    """How fast one executor gets through its jobs, and so how many more than it has slots may be in hand."""

    def __init__(self, executor: Executor, ended: int) -> None:
        self.executor = executor
        self.rate = 0.0
        """Calls that end in a second."""
        self._trust = 1.0
        self._since, self._before = monotonic(), ended
        self._busy = 0
        """Calls that ran when the measurement began: their ends tell nothing of how long they took."""
        self._marks: deque[tuple[float, int, int]] = deque()
        """Moments of the last AHEAD seconds: (when, calls that waited, calls that had ended)."""
        self._stuck_at: int | None = None

    @property
    def ahead(self) -> float:
        """Jobs that will find a slot within AHEAD seconds, beside those that are free."""
        return self.rate * AHEAD * self._trust

    def stuck(self, ended: int) -> bool:
        """Whether nothing has ended since jobs went back last: none can start soon, except in a free slot."""
        return ended == self._stuck_at

    def measure(self, ended: int, free: int, now: float) -> None:
        passed, done, slots = now - self._since, ended - self._before, self.executor.slots
        dry = free == slots
        if passed < (RATE_DRY if dry and not self._busy else RATE_OVER):
            return
        if done > self._busy:
            rate = done / passed
            mean = (self.rate + rate) / 2 if self.rate else rate
            self.rate = max(mean, rate) if dry else mean  # an executor that ran dry could have done more
            self._trust = min(1.0, self._trust * REGAIN)
        else:
            self.rate = min(self.rate, (done + slots) / passed)
            if not dry:
                return
        self._since, self._before, self._busy = now, ended, min(slots, slots - free)

    def overdue(self, ended: int, now: float) -> int | None:
        """How many of the calls that wait may go on waiting, if the others have waited too long already."""
        marks, waiting = self._marks, -self.executor.free()
        if waiting <= 0:
            marks.clear()
            return None
        marks.append((now, waiting, ended))
        while len(marks) > 1 and now - marks[1][0] >= AHEAD:
            marks.popleft()
        at, before, then = marks[0]
        lately = ended - marks[-2][2] if len(marks) > 1 else 0
        if now - at < AHEAD or 2 * (ended - then) >= before or 2 * lately >= waiting:
            return None
        marks.clear()
        self.rate, self._trust, self._stuck_at = lately / AHEAD, self._trust * DISTRUST, ended
        return 2 * lately


class Room:
    """How many jobs fit: free slots, plus what will be free within AHEAD, for each executor by its share of the jobs.

    `look` belongs to the heartbeat's thread, all else to the fetcher's.
    """

    def __init__(self, executors: ExecutorSet, in_flight: InFlight) -> None:
        self._executors = executors
        self._ended = in_flight.ended
        self._shares: dict[str, float] = {}
        self._paces: dict[str, Pace] = {}
        self.fit = UNKNOWN
        """So many jobs of the size of the last ones have BYTES."""

    def count(self) -> int:
        """Jobs to ask for now; 0 while waiting a little brings a larger batch for no idle slot."""
        executors, now = self._executors.by_name, monotonic()
        free = {name: executor.free() for name, executor in executors.items()}
        least, worthwhile = float(MOST), True
        for name, slots in free.items():
            pace = self._pace(name, executors[name])
            pace.measure(self._ended[name], slots, now)
            ahead = pace.ahead
            room = slots + ahead
            if room < 1 and any(other > 0 for other in free.values()):  # it must not stop the others
                room += PAST if pace.stuck(self._ended[name]) else executors[name].slots
            # An executor that hardly any job needs must not decide.
            fits = room / max(self._shares.get(name, 1.0), RARE)
            if fits < least:
                least, worthwhile = fits, slots > 0 or room >= ahead / 4
        return int(least) if worthwhile else 0

    def failed(self) -> None:
        """A receive failed: perhaps its jobs were too big to come in time."""
        self.fit = FEW

    def received(self, leases: list[Lease], executor_of: Callable[[Lease], str | None]) -> list[Lease]:
        """Learn from these which executors the jobs need; returns those that are too many for theirs."""
        weighed = leases[:: -(-len(leases) // _WEIGHED)]
        self.fit = max(1, BYTES * len(weighed) // (1 + sum([len(lease.job.payload) for lease in weighed])))
        surplus: list[Lease] = []
        executors = self._executors.by_name
        if len(executors) < 2:
            return surplus
        needed: dict[str | None, list[Lease]] = {}
        for lease in leases:
            needed.setdefault(executor_of(lease), []).append(lease)
        for name, executor in executors.items():
            theirs, pace = needed.get(name, []), self._pace(name, executor)
            self._shares[name] = (self._shares.get(name, 1.0) + len(theirs) / len(leases)) / 2
            fit = executor.free()
            if not pace.stuck(self._ended[name]):  # twice what `count` lets in, so that only a sudden change goes back
                fit += 2 * (executor.slots + int(pace.ahead) + 1)
            surplus += theirs[max(0, fit) :]
        return surplus

    def stuck(self) -> bool:
        """Whether jobs went back because an executor has not got on since."""
        return any(pace.stuck(self._ended[name]) for name, pace in self._paces.items())

    def look(self, now: float) -> None:
        """Hand back what has waited for a slot for AHEAD seconds: others may start it sooner."""
        for name, pace in list(self._paces.items()):
            keep = pace.overdue(self._ended[name], now)
            if keep is not None:
                pace.executor.hand_back(keep)

    def _pace(self, name: str, executor: Executor) -> Pace:
        pace = self._paces.get(name)
        if pace is None:
            pace = self._paces[name] = Pace(executor, self._ended[name])
        return pace
