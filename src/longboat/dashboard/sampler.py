"""Sampler: a thread that notes every 10 s how many jobs there are, as workers do, while no worker runs."""

from __future__ import annotations

import logging
import threading

from longboat.core.clock import SYSTEM
from longboat.dashboard.site import Site
from longboat.errors import BrokerError, Unsupported
from longboat.observe import depth


class Sampler:
    """Any number may run, beside any number of workers: only one of them stores each sample."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="longboat-depth", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.is_set():
            now = SYSTEM.now()
            due = now + 10.0
            try:
                due = depth.sample(self._site.broker, now)
            except Unsupported:
                return
            except BrokerError:
                logging.getLogger("longboat.dashboard").debug("no sample: the broker does not answer")
            self._over.wait(due - now)
