"""Results from the server: looked up by id, or waited for on a connection of their own."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterable, Sequence

from longboat.brokers.manager import wire
from longboat.brokers.manager.calls import CallConnection, Calls
from longboat.brokers.manager.forwarded import ForwardingResults
from longboat.contract.base import BaseListener
from longboat.core.clock import SYSTEM
from longboat.core.job import Result
from longboat.errors import BrokerError


class ManagerResults(ForwardingResults):
    """The results of the store behind the server."""

    def listen(self) -> ManagerListener:
        return ManagerListener(self.calls)


class ManagerListener(BaseListener):
    """A listener at the server, made there again with all that is watched whenever it may have been lost."""

    def __init__(self, calls: Calls) -> None:
        super().__init__()
        self._calls = calls
        self._id = os.urandom(8).hex()
        self._connection = CallConnection(calls)
        self._came: list[Result] = []
        self._unsure = False
        """The server may have forgotten what is watched, or an answer of it was lost."""
        self._is_waiting = False

    def watch(self, ids: Sequence[str]) -> None:
        with self._lock:
            before = bool(self._watched)
            self._watched.update(ids)
        try:
            new = self._calls.call(wire.WATCH, self._id, list(ids))
        except BrokerError:
            self._unsure = True
            super().forget(ids)
            raise
        if new and before:
            self._unsure = True
            self._ring()

    def forget(self, ids: Sequence[str]) -> None:
        super().forget(ids)
        with contextlib.suppress(BrokerError):  # a result that comes nevertheless is not told
            self._calls.call(wire.FORGET, self._id, list(ids))

    def wait(self, timeout: float) -> list[Result]:
        try:
            return super().wait(timeout)
        except BrokerError:
            self._unsure = True
            raise

    def _hear(self, until: float) -> list[Result]:
        try:
            while not self._closed:
                self._wait(until)
                results = self._news()
                if results or self._woken or SYSTEM.monotonic() >= until:
                    return results
            return []
        finally:
            self._is_waiting = False

    def _wait(self, until: float) -> None:
        """At the server, for a slice of the time, so that a server that is gone is noticed."""
        if self._unsure:
            with self._lock:
                watched = list(self._watched)
            self._calls.call(wire.WATCH, self._id, watched)
            self._unsure = False
        self._is_waiting = True
        left = 0.0 if self._woken else min(max(0.0, until - SYSTEM.monotonic()), self._calls.slice)
        results = self._connection.call(wire.WAIT, self._id, left)
        if results is None:
            self._unsure = True
        else:
            self._came += results

    def _look(self, fresh: Collection[str]) -> Iterable[Result]:  # noqa: ARG002  # the server tells these, too
        came, self._came = self._came, []
        return came

    def _ring(self) -> None:
        if self._is_waiting:
            with contextlib.suppress(BrokerError):  # then the wait ends within a second by itself
                self._calls.call(wire.WAKE, self._id)

    def _end(self) -> None:
        with contextlib.suppress(BrokerError):  # the server forgets a silent listener by itself
            self._calls.call(wire.END, self._id)
        with self._waiting:
            self._connection.close()
