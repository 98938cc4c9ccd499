"""Results of a store that can be asked but tells nothing: waiting for one is asking again and again."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

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


class _PollingListener:
    def __init__(self, get: Get, poll: float) -> None:
        self._get = get
        self._poll = poll
        self._watched: dict[str, None] = {}
        self._lock = threading.Lock()
        self._changed = threading.Event()
        self._woken = False

    def watch(self, ids: Sequence[str]) -> None:
        with self._lock:
            self._watched.update(dict.fromkeys(ids))
        self._changed.set()

    def forget(self, ids: Sequence[str]) -> None:
        with self._lock:
            for job_id in ids:
                self._watched.pop(job_id, None)

    def wait(self, timeout: float) -> list[Result]:
        end = SYSTEM.monotonic() + timeout
        while True:
            self._changed.clear()
            results = self._told()
            left = end - SYSTEM.monotonic()
            if results or self._woken or left <= 0:
                self._woken = False
                return results
            self._changed.wait(min(left, self._poll) if self._watched else left)

    def _told(self) -> list[Result]:
        with self._lock:
            ids = list(self._watched)
        found = [result for result in self._get(ids) if result is not None] if ids else []
        with self._lock:  # another thread may have said to forget one meanwhile
            return [result for result in found if self._watched.pop(result.id, self) is None]

    def wake(self) -> None:
        self._woken = True
        self._changed.set()

    def close(self) -> None:
        self.wake()
