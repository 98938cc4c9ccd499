"""Fetcher: receives as many jobs as can start within about 100 ms, and no more, so that no worker hoards jobs."""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic

from longboat.contract.broker import Consumer, Lease, Settlement
from longboat.core.job import Release
from longboat.errors import BrokerError
from longboat.worker.broker_link import BrokerLink
from longboat.worker.in_flight import InFlight
from longboat.worker.room import PAST, Room
from longboat.worker.runner import Runner
from longboat.worker.service import Service
from longboat.worker.settler import Settler
from longboat.worker.status import Status

WAIT = 5.0
"""Seconds that one receive waits."""
BACKLOG = 20_000
"""Outcomes that may wait to be settled (the broker fails, say) before no more jobs are taken."""
SURPLUS_PAUSE = 0.1
"""Seconds, at least, until the next receive after one of whose jobs most cannot start: they come first in their queue."""
LONGEST_PAUSE = 1.0
LOOK, RARE_LOOK = 0.01, 0.1
"""Seconds until a worker without room looks again though no call has ended: at first, and at last."""


class Fetcher(Service):
    """Its thread receives, hands on, and settles what has ended meanwhile."""

    def __init__(
        self, status: Status, link: BrokerLink, in_flight: InFlight, runner: Runner, room: Room, settler: Settler
    ) -> None:
        super().__init__("fetcher", status, in_flight.room)
        self._link = link
        self._in_flight = in_flight
        self._runner = runner
        self._room = room
        self._settler = settler
        self._burst = link.options.burst
        self._left = link.options.max_jobs
        self._look = LOOK
        self._seen = -1
        """Calls that had replied when there was no room last."""

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
                n = min(n, self._left + self._in_flight.returned)
            if n > 0:
                self._fetch(n)
            else:
                self._wait_for_room()

    def _wait_for_room(self) -> None:
        """A call that replies rings. Its slot may be free only a moment later, so the next look comes soon then."""
        replied = self._replied()
        self._look = min(RARE_LOOK, self._look * 2) if replied == self._seen else LOOK
        self._seen = replied
        self.wake.sleep(self._look if self._left != 0 else WAIT, unless=lambda: self._replied() != replied)

    def _replied(self) -> int:
        return self._in_flight.total() + self._in_flight.returned

    def _fetch(self, n: int) -> None:
        in_flight = self._in_flight
        # Judged before looking: what ends later may have made another job ready.
        idle = not in_flight.calls and not in_flight.pending()
        leases = self._link.attempt(lambda consumer: self._receive(consumer, n), otherwise=None)
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

    def _receive(self, consumer: Consumer, n: int) -> list[Lease] | None:
        """None: the broker was not asked."""
        if self.stopping or not self.status.taking:
            return None
        try:
            return consumer.receive(min(n, self._room.fit), wait=0.0 if self._burst else WAIT)
        except BrokerError:
            self._room.failed()
            raise

    def _take(self, leases: list[Lease]) -> None:
        surplus = self._room.received(leases, self._runner.executor_of)
        if surplus:
            back = set(surplus)
            leases = [lease for lease in leases if lease not in back]
            self._hand_back(surplus)
        self._runner.take(leases)
        if self._in_flight.watch.asleep:
            self._in_flight.watch.ring()
        self._settler.settle_in_turn()
        if self._left is not None:
            self._left -= len(leases)
            if self._left == 0:
                self.status.finish("max-jobs")
        if len(surplus) > len(leases):
            self._pause((len(surplus) - len(leases)) / PAST)

    def _pause(self, seconds: float) -> None:
        """While nothing has changed for the executor that these jobs need."""
        until = monotonic() + min(LONGEST_PAUSE, max(SURPLUS_PAUSE, seconds))
        while self._room.stuck() and monotonic() < until and not self.stopping:
            self.wake.nap(0.02)

    def _hand_back(self, leases: Sequence[Lease]) -> None:
        for lease in leases:
            self._in_flight.settle(Settlement(lease, Release()))
        self._settler.settle_in_turn()
