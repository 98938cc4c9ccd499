"""Results of a store that can be asked but tells nothing: waiting for one is asking again and again."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence

from longboat.contract.base import BaseListener
from longboat.contract.results import Listener
from longboat.core.clock import SYSTEM
from longboat.core.job import Result

Get = Callable[[Sequence[str]], list[Result | None]]


class PolledResults:
    """A ResultStore from its `get`."""

    def __init__(self, get: Get, *, poll: float = 0.1) -> None:
        """`poll`: seconds between two calls of `get` while somebody waits."""
        self.get = get
        self._poll = poll

    def listen(self) -> Listener:
        return _PollingListener(self.get, self._poll)


class _PollingListener(BaseListener):
    def __init__(self, get: Get, poll: float) -> None:
        super().__init__()
        self._get = get
        self._poll = poll
        self._rung = threading.Event()

    def _look(self, fresh: Collection[str]) -> list[Result]:  # noqa: ARG002  # all are looked for
        with self._lock:
            ids = list(self._watched)
        return [result for result in self._get(ids) if result is not None] if ids else []

    def _wait(self, until: float) -> None:
        left = until - SYSTEM.monotonic()
        self._rung.wait(max(0.0, min(left, self._poll) if self._watched else left))
        self._rung.clear()

    def _ring(self) -> None:
        self._rung.set()

    def _end(self) -> None:
        """There is nothing to let go of."""
