"""Fetcher: receives as many jobs as can start within about 100 ms, and no more, so that no worker hoards jobs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from time import monotonic

from longboat.contract.broker import Consumer, Lease, Settlement
from longboat.core.job import Release
from longboat.worker.broker_link import BrokerLink
from longboat.worker.executor_set import ExecutorSet
from longboat.worker.in_flight import InFlight
from longboat.worker.runner import Runner
from longboat.worker.service import Service
from longboat.worker.settler import Settler
from longboat.worker.status import Status

AHEAD = 0.1
"""Seconds of work that may be in hand beside what runs."""
MOST = 2000
"""Jobs in one receive, at most."""
WAIT = 5.0
"""Seconds that one receive waits."""
BACKLOG = 20_000
"""Outcomes that may wait to be settled (the broker fails, say) before no more jobs are taken."""
RARE = 0.002
"""The least share of the jobs that an executor is assumed to have: two idle children then allow receives of 1,000. If the
jobs change suddenly, those that are too many for it go back."""
RATE_OVER = 0.1
"""Seconds over which rates are measured."""
RATE_DRY = 0.005
"""The same between two moments at which every slot is free: whole rounds, so that a fast queue is known at once."""


class Room:
    """How many jobs fit: free slots, plus the measured rate times AHEAD, for each executor by its share of the jobs."""

    def __init__(self, executors: ExecutorSet, ended: Mapping[str, int]) -> None:
        self._executors = executors
        self._ended = ended
        self._shares: dict[str, float] = {}
        self._rates: dict[str, float] = {}
        self._before: dict[str, int] = {}
        self._measured = monotonic()
        self._dry = True
        """Whether every slot was free when rates were measured last."""

    def received(self, leases: list[Lease], executor_of: Callable[[Lease], str | None]) -> list[Lease]:
        """Learn from these which executors the jobs need; returns those that are too many for theirs."""
        surplus: list[Lease] = []
        executors = self._executors.by_name
        if len(executors) < 2:
            return surplus
        needed: dict[str | None, list[Lease]] = {}
        for lease in leases:
            needed.setdefault(executor_of(lease), []).append(lease)
        for name, executor in executors.items():
            theirs = needed.get(name, [])
            self._shares[name] = (self._shares.get(name, 1.0) + len(theirs) / len(leases)) / 2
            # Twice what `count` lets in, so that only a sudden change goes back.
            fit = executor.free() + 2 * (executor.slots + int(self._rates.get(name, 0.0) * AHEAD) + 1)
            surplus += theirs[max(0, fit) :]
        return surplus

    def count(self) -> int:
        """Jobs to ask for now; 0 while waiting a little brings a larger batch for no idle slot."""
        executors = self._executors.by_name
        free = {name: executor.free() for name, executor in executors.items()}
        self._measure(all(slots == executors[name].slots for name, slots in free.items()))
        least, worthwhile = float(MOST), True
        for name, slots in free.items():
            ahead = self._rates.get(name, 0.0) * AHEAD
            room = slots + ahead
            if room <= 0 and any(other > 0 for other in free.values()):
                room += executors[name].slots  # one more round may wait, so that it does not stop the others
            # An executor that hardly any job needs must not decide.
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
            self._rates[name] = max(mean, rate) if dry else mean  # an executor that ran dry could have done more
            self._before[name] = ended


class Fetcher(Service):
    """Its thread receives, hands on, and settles what has ended meanwhile."""

    def __init__(
        self, status: Status, link: BrokerLink, in_flight: InFlight, runner: Runner, executors: ExecutorSet, settler: Settler
    ) -> None:
        super().__init__("fetcher", status, in_flight.room)
        self._link = link
        self._in_flight = in_flight
        self._runner = runner
        self._room = Room(executors, in_flight.ended)
        self._executorstler = settler
        self._burst = link.options.burst
        self._left = link.options.max_jobs

    def hush(self, quiet: bool) -> None:
        """Receive no more jobs, or receive them again. What was received runs."""
        self.status.quiet = quiet
        self.wake.ring()
        if quiet:
            self._link.wake()

    def stop(self) -> None:
        super().stop()
        self._link.wake()

    def loop(self) -> None:
        while not self.stopping:
            if not self.status.taking:
                self.wake.nap(WAIT)
                continue
            n = 0 if self._in_flight.pending() >= BACKLOG else self._room.count()
            if self._left is not None:
                n = min(n, self._left)
            if n > 0:
                self._fetch(n)
            else:
                self.wake.sleep(0.01 if self._left != 0 else WAIT)

    def _fetch(self, n: int) -> None:
        in_flight = self._in_flight
        # Judged before looking: what ends later may have made another job ready.
        idle = not in_flight.calls and not in_flight.pending()
        none: list[Lease] = []
        leases = self._link.attempt(lambda consumer: self._receive(consumer, n), otherwise=none)
        if leases and not self.status.taking:  # they came at the very moment
            self._hand_back(leases)
        elif leases:
            self._take(leases)
        elif not self._burst:
            in_flight.beat_soon = True  # perhaps a cancellation was requested
            in_flight.watch.ring()
        elif idle:
            self.status.finish("burst")
            self.stopping = True
        else:
            self.wake.nap(0.01)

    def _receive(self, consumer: Consumer, n: int) -> list[Lease]:
        if self.stopping or not self.status.taking:
            return []
        return consumer.receive(n, wait=0.0 if self._burst else WAIT)

    def _take(self, leases: list[Lease]) -> None:
        surplus = self._room.received(leases, self._runner.executor_of)
        if surplus:
            back = set(surplus)
            leases = [lease for lease in leases if lease not in back]
            self._hand_back(surplus)
        self._runner.take(leases)
        if self._in_flight.watch.asleep:
            self._in_flight.watch.ring()
        self._executorstler.settle_in_turn()
        if self._left is not None:
            self._left -= len(leases)
            if self._left == 0:
                self.status.finish("max-jobs")

    def _hand_back(self, leases: Sequence[Lease]) -> None:
        for lease in leases:
            self._in_flight.settle(Settlement(lease, Release()))
        self._executorstler.settle_in_turn()
