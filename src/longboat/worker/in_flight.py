"""InFlight: what a worker has in hand, from receive to settle. Every stage of the pipeline is given it.

    fetcher   receives leases                                           longboat-fetcher
    runner    makes calls of them, and sets suspects apart              longboat-fetcher, longboat-quarantine
    executors run the calls                                             their own threads
    finisher  makes outcomes of the replies                             the executors' threads
    settler   settles the outcomes                                      longboat-settler, or the fetcher in turn

Leases watches the calls meanwhile: time limits, cancellations, the heartbeat.
"""

from __future__ import annotations

from collections import deque

from longboat.contract.broker import Lease, Settlement
from longboat.core.job import Failure
from longboat.executors.contract import Call
from longboat.worker.service import Wake

BIG = 1000
"""Bytes of a result. So many of them as are settled together are not too many."""
EXECUTORS = ("async", "thread", "process")


class InFlight:
    """Any thread may use it. Others read `calls` by copying it, which is one operation."""

    def __init__(self) -> None:
        self.calls: dict[Call, None] = {}
        """All that have not replied."""
        self.ended: dict[str, int] = dict.fromkeys(EXECUTORS, 0)
        """Calls that have run, by executor."""
        self.returned = 0
        """Calls that were handed back without having run."""
        self.outcomes: deque[Settlement] = deque()
        """Those that nobody settles yet, the oldest first."""
        self.settling = 0
        """Outcomes that somebody settles now."""
        self.big_results = False
        """There have been results of more than BIG bytes: the settler weighs them."""
        self.suspects: set[Lease] = set()
        """Leases of the suspects that run now: see quarantine.py."""
        self.misfits: deque[tuple[Call, Failure]] = deque()
        """Those whose arguments do not fit, or that a pause holds, and why: see misfits.py."""
        self.room = Wake()
        """Of the fetcher: rung when a call has replied."""
        self.due = Wake()
        """Of the settler: rung when there is an outcome."""
        self.watch = Wake()
        """Of the heartbeat's thread: rung when there are calls to watch."""
        self.apart = Wake()
        """Of the quarantine: rung when there are suspects, and when those that run are settled."""
        self.beat_soon = False
        """A cancellation may have been requested: the heartbeat tells."""

    def settle(self, settlement: Settlement) -> None:
        """Hand an outcome to the settler. Returns at once."""
        self.outcomes.append(settlement)
        if self.due.asleep:
            self.due.ring()

    def pending(self) -> int:
        """Outcomes that the broker does not know yet."""
        return len(self.outcomes) + self.settling

    def total(self) -> int:
        """Calls that have run."""
        return sum(self.ended.values())
