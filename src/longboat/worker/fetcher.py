"""Fetcher: takes as many jobs as can start within about 100 ms, and no more, so that nobody hoards."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from time import monotonic

from longboat.contract.broker import Consumer, Lease, Settlement
from longboat.core.job import Release
from longboat.executors.contract import Executor
from longboat.worker.leases import Leases
from longboat.worker.link import BrokerLink
from longboat.worker.runner import Runner

AHEAD = 0.1
"""Seconds of work that may be in hand beside what runs."""
MOST = 2000
"""Jobs in one receive, at most."""
WAIT = 5.0
"""Seconds that one receive waits."""
BACKLOG = 20_000
"""Outcomes that may wait to be settled (the broker fails, say) before no more jobs are taken."""
RARE = 0.002
"""The least share of the jobs that an executor is taken to have: two idle children then allow receives of 1,000. When the
jobs change suddenly, what is too much for them goes back."""
RATE_OVER = 0.1
"""Seconds over which rates are measured."""
RATE_DRY = 0.005
"""The same between two moments at which every slot is free: whole rounds, so that a fast queue is known at once."""


class Room:
    """How many jobs fit: free slots, plus the measured rate times AHEAD, for each executor by its share of the jobs."""

    def __init__(self, executors: Mapping[str, Executor], ended: Mapping[str, int]) -> None:
        self._executors = executors
        self._ended = ended
        self._shares: dict[str, float] = {}
        self._rates: dict[str, float] = {}
        self._before: dict[str, int] = {}
        self._measured = monotonic()
        self._dry = True
        """Whether every slot was free when rates were measured last."""

    def received(self, leases: list[Lease], executor_of: Callable[[Lease], str | None]) -> list[Lease]:
        """Learn from what came which executors the jobs need; returns those that are too many for theirs."""
        surplus: list[Lease] = []
        if len(self._executors) < 2:
            return surplus
        needed: dict[str | None, list[Lease]] = {}
        for lease in leases:
            needed.setdefault(executor_of(lease), []).append(lease)
        for name, executor in self._executors.items():
            theirs = needed.get(name, [])
            self._shares[name] = (self._shares.get(name, 1.0) + len(theirs) / len(leases)) / 2
            # Twice what `count` lets in, so that only a sudden change goes back.
            fit = executor.free() + 2 * (executor.slots + int(self._rates.get(name, 0.0) * AHEAD) + 1)
            surplus += theirs[max(0, fit) :]
        return surplus

    def count(self) -> int:
        """Jobs to ask for now; 0 while waiting a little brings a larger batch for no idle slot."""
        free = {name: executor.free() for name, executor in self._executors.items()}
        self._measure(all(slots == self._executors[name].slots for name, slots in free.items()))
        least, worthwhile = float(MOST), True
        for name, slots in free.items():
            ahead = self._rates.get(name, 0.0) * AHEAD
            room = slots + ahead
            if room <= 0 and any(other > 0 for other in free.values()):
                room += self._executors[name].slots  # one more round may wait, so that it does not stop the others
            # An executor that nearly no job needs must not decide.
            fits = room / max(self._shares.get(name, 1.0), RARE)
            if fits < least:
                least, worthwhile = fits, slots > 0 or room >= ahead / 4
        return max(1, int(least)) if worthwhile and least > 0 else 0

    def _measure(self, dry: bool) -> None:
        now = monotonic()
        passed = now - self._measured
        if passed < (RATE_DRY if dry and self._dry else RATE_OVER):
            return
        self._measured, self._dry = now, dry
        for name, ended in self._ended.items():
            rate = (ended - self._before.get(name, 0)) / passed
            mean = (self._rates.get(name, rate) + rate) / 2
            self._rates[name] = max(mean, rate) if dry else mean  # who ran dry could have done more
            self._before[name] = ended


class Fetcher:
    """Its thread receives, then settles what has ended meanwhile; `freed` is called when a call has replied."""

    def __init__(
        self,
        link: BrokerLink,
        runner: Runner,
        leases: Leases,
        room: Room,
        executor_of: Callable[[Lease], str | None],
        *,
        pending: Callable[[], int],
        give: Callable[[Settlement], None],
        settle: Callable[[], None],
        finished: Callable[[str], None],
        burst: bool,
        max_jobs: int | None,
    ) -> None:
        self._link = link
        self._runner = runner
        self._leases = leases
        self._room = room
        self._executor_of = executor_of
        self._pending = pending
        self._give = give
        self._settle = settle
        self._finished = finished
        self._burst = burst
        self._left = max_jobs
        self._stopping = self._quiet = False
        self._hungry = False
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="longboat-fetcher", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def freed(self) -> None:
        if self._hungry:
            self._wake.set()

    @property
    def quiet(self) -> bool:
        """Whether no more jobs are taken for now."""
        return self._quiet

    def hush(self, quiet: bool) -> None:
        """Take no more jobs, or take them again; what was received is run."""
        self._quiet = quiet
        self._wake.set()
        if quiet:
            self._link.wake()

    def close(self) -> None:
        """Take no more jobs; returns when the last received ones are handed on."""
        self._stopping = True
        self._wake.set()
        self._link.wake()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._stopping:
            if self._quiet:
                self._wake.wait(WAIT)
                self._wake.clear()
                continue
            n = 0 if self._pending() >= BACKLOG else self._room.count()
            if self._left is not None:
                n = min(n, self._left)
            if n <= 0:
                self._hungry = True
                self._wake.wait(0.01 if self._left != 0 else WAIT)
                self._wake.clear()
                self._hungry = False
                continue
            self._fetch(n)

    def _fetch(self, n: int) -> None:
        wait = 0.0 if self._burst else WAIT
        # Judged before looking: what ends later may have made another job ready.
        quiet = not self._runner.calls and not self._pending()

        def receive(consumer: Consumer) -> list[Lease]:
            return [] if self._stopping or self._quiet else consumer.receive(n, wait=wait)

        none: list[Lease] = []
        leases = self._link.attempt(receive, otherwise=none)
        if leases and self._quiet:  # they came at the very moment
            self._hand_back(leases)
        elif leases:
            self._take(leases)
        elif not self._burst:
            self._leases.beat_soon()
        elif quiet:
            self._stopping = True
            self._finished("burst")
        else:
            self._wake.wait(0.01)

    def _hand_back(self, leases: Sequence[Lease]) -> None:
        for lease in leases:
            self._give(Settlement(lease, Release()))
        self._settle()

    def _take(self, leases: list[Lease]) -> None:
        surplus = self._room.received(leases, self._executor_of)
        if surplus:
            back = set(surplus)
            leases = [lease for lease in leases if lease not in back]
            self._hand_back(surplus)
        self._runner.take(leases)
        self._leases.nudge()
        self._settle()
        if self._left is not None:
            self._left -= len(leases)
            if self._left == 0:
                self._finished("max-jobs")
