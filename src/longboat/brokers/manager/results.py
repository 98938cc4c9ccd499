"""Results from the server: looked up by id, or waited for on a connection of their own."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Sequence

from longboat.brokers.manager import wire
from longboat.brokers.manager.calls import CallConnection, Calls
from longboat.brokers.manager.consumer import SLICE
from longboat.brokers.manager.halves import in_halves
from longboat.core.clock import SYSTEM
from longboat.core.job import Result
from longboat.errors import BrokerError


class ManagerResults:
    """The results of the store behind the server."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def get(self, ids: Sequence[str]) -> list[Result | None]:
        return in_halves(lambda part: self._calls.call(wire.GET, part), ids)

    def listen(self) -> ManagerListener:
        return ManagerListener(self._calls)


class ManagerListener:
    """A listener at the server, made there again with all that is watched whenever it may have been lost."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._id = os.urandom(8).hex()
        self._line = CallConnection(calls)
        self._slice = min(SLICE, calls.timeout / 2)
        self._turn = threading.Lock()
        self._watched: set[str] = set()
        self._lock = threading.Lock()
        self._unsure = False
        """The server may have forgotten what is watched, or an answer of it was lost."""
        self._waiting = False
        self._woken = False
        self._closed = False

    def watch(self, ids: Sequence[str]) -> None:
        with self._lock:
            before = bool(self._watched)
            self._watched.update(ids)
        try:
            new = self._calls.call(wire.WATCH, self._id, list(ids))
        except BrokerError:
            self._unsure = True
            raise
        if new and before:
            self._unsure = True
            self._rouse()

    def forget(self, ids: Sequence[str]) -> None:
        with self._lock:
            self._watched.difference_update(ids)
        with contextlib.suppress(BrokerError):  # what comes nevertheless is not given
            self._calls.call(wire.FORGET, self._id, list(ids))

    def wait(self, timeout: float) -> list[Result]:
        until = SYSTEM.monotonic() + timeout
        with self._turn:
            try:
                return self._wait(until)
            except BrokerError:
                self._unsure = True
                raise
            finally:
                self._waiting = self._woken = False

    def _wait(self, until: float) -> list[Result]:
        while not self._closed:
            if self._unsure:
                with self._lock:
                    watched = list(self._watched)
                self._calls.call(wire.WATCH, self._id, watched)
                self._unsure = False
            self._waiting = True
            left = max(0.0, until - SYSTEM.monotonic())
            results = self._line.call(wire.WAIT, self._id, 0.0 if self._woken else min(left, self._slice))
            if results is None:
                self._unsure = True
                continue
            with self._lock:
                mine = [result for result in results if result.id in self._watched]
                self._watched.difference_update(result.id for result in mine)
            if mine or self._woken or left <= self._slice:
                return mine
        return []

    def wake(self) -> None:
        self._woken = True
        self._rouse()

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        with contextlib.suppress(BrokerError):  # the server forgets a silent listener by itself
            self._calls.call(wire.UNLISTEN, self._id)
        with self._turn:
            self._line.close()

    def _rouse(self) -> None:
        if self._waiting:
            with contextlib.suppress(BrokerError):  # then the wait ends within a second by itself
                self._calls.call(wire.WAKE_LISTENER, self._id)
