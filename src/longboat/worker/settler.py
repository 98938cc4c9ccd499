"""Settler: settles outcomes in batches: from a thread of its own, or in turn with the fetcher."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

from longboat.contract.broker import Settlement
from longboat.core.job import Done
from longboat.core.portions import fitting
from longboat.worker.apart import settle_apart
from longboat.worker.broker_link import BrokerLink
from longboat.worker.in_flight import InFlight
from longboat.worker.progress_writer import ProgressWriter
from longboat.worker.recorder import Recorder
from longboat.worker.service import Service
from longboat.worker.status import Status

log = logging.getLogger("longboat.worker")

LOADED = 64
"""Outcomes in one batch that tell a loaded worker, for which waiting a little saves commits."""
LINGER = 0.01
"""Seconds that a loaded settler gathers."""
BATCH = 2000
"""Outcomes in one settle, at most: see core/portions.py."""


class Settler(Service):
    """What is not settled is kept until it is, or until `close`."""

    def __init__(
        self, status: Status, link: BrokerLink, in_flight: InFlight, recorder: Recorder, progress: ProgressWriter
    ) -> None:
        super().__init__("settler", status, in_flight.due)
        self._link = link
        self._in_flight = in_flight
        self._recorder = recorder
        self._progress = progress
        self._turn = threading.Lock()

    def settle_in_turn(self) -> None:
        """Settle now if there is much; the fetcher's. What the broker does not take is left to the settler's thread.

        Two threads that both work on the store of a fast queue only wait for each other, and for the interpreter.
        """
        if len(self._in_flight.outcomes) < LOADED:
            return
        with self._turn:
            try:
                self._settle_next(lambda batch: self._link.consumer().settle(batch) is not None)
            except Exception:  # its own thread finds out why
                self.wake.ring()

    def close(self) -> None:
        """Settle what there is, and end."""
        super().close()
        if self.status.error is not None and self._in_flight.outcomes and not self._link.closing.is_set():
            try:
                settle_apart(self._link.consumer(), list(self._in_flight.outcomes))
            except Exception:
                log.exception("outcomes cannot be settled; their jobs are handed back")

    def loop(self) -> None:
        loaded = False
        outcomes = self._in_flight.outcomes
        while outcomes or not self.stopping:
            if loaded and not self.stopping:
                self._link.closing.wait(LINGER)
            with self._turn:
                settled = self._settle_next(self._link.settle)
            loaded = settled >= LOADED
            if not settled:
                self.wake.sleep(None, unless=lambda: outcomes or self.stopping)

    def _settle_next(self, settle: Callable[[Sequence[Settlement]], bool]) -> int:
        """Settle the oldest outcomes, and return how many. Where that fails they come next again. Whoever has the turn."""
        outcomes, in_flight = self._in_flight.outcomes, self._in_flight
        number = in_flight.settling = min(len(outcomes), BATCH)  # before they are taken out: `pending` never misses them
        if not number:
            return 0
        batch = [outcomes.popleft() for _ in range(number)]
        if in_flight.big_results:
            fit = fitting([len(each.outcome.result) if isinstance(each.outcome, Done) else 0 for each in batch])
            outcomes.extendleft(reversed(batch[fit:]))
            batch = batch[:fit]
            number = in_flight.settling = fit
        try:
            if self._progress.unwritten:  # whoever waits for a job's end then finds the last that it reported
                self._progress.write([settlement.lease.job.id for settlement in batch])
            settled = settle(batch)
        except BaseException:
            outcomes.extendleft(reversed(batch))
            raise
        finally:
            in_flight.settling = 0
        if settled:
            self._recorder.settled(batch)
            if in_flight.suspects:
                in_flight.suspects.difference_update([settlement.lease for settlement in batch])
                in_flight.apart.ring()
        return number
