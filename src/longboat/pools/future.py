"""JobFuture: a future of `concurrent.futures` that stands for a job."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Sequence
from typing import Any, TypeVar

from longboat.client.client import Client
from longboat.core.job import State
from longboat.errors import Unsupported
from longboat.operate.audit import told_here

T = TypeVar("T")

TOGETHER = 500
"""Jobs in one look, at most."""


class JobFuture(concurrent.futures.Future[T]):
    """It is pending until its job has ended. `id` is the job's."""

    def __init__(self, client: Client, id: str) -> None:
        super().__init__()
        self.id = id
        self._client = client
        self._told = False

    def cancel(self) -> bool:
        """Cancel the job, unless a worker has taken it. Raises BrokerError if the broker does not answer."""
        if not self.done():
            cancel([self])
        return self.cancelled()

    def running(self) -> bool:
        """Whether a worker has taken the job, and it has not ended. Asks the broker."""
        return not self.done() and bool(taken([self]))

    def drop(self) -> None:
        """The job was cancelled: so is this future, for those who wait as well."""
        if super().cancel():
            with self._condition:
                first, self._told = not self._told, True
            if first:
                self.set_running_or_notify_cancel()

    def begin(self) -> bool:
        """Whether the outcome is to be set now: from here on the future cannot be cancelled."""
        with self._condition:
            return not self.done() and self.set_running_or_notify_cancel()


def cancel(futures: Sequence[JobFuture[Any]]) -> None:
    """Cancel the jobs that no worker has taken, and their futures."""
    running = taken(futures)
    waiting = [future for future in futures if future not in running and not future.done()]
    for some in _parts(waiting):
        cancelled = set(_cancel(some[0]._client, [future.id for future in some]))
        for future in some:
            if future.id in cancelled:
                future.drop()


def cancel_all(client: Client, ids: Sequence[str]) -> None:
    """Cancel these jobs, also those that run."""
    for start in range(0, len(ids), TOGETHER):
        _cancel(client, ids[start : start + TOGETHER])


def _cancel(client: Client, ids: Sequence[str]) -> Sequence[str]:
    cancelled = client.broker.inspector.cancel(ids)
    told_here(client.broker, "cancel", cancelled)
    return cancelled


def taken(futures: Sequence[JobFuture[Any]]) -> set[JobFuture[Any]]:
    """Those whose jobs a worker has taken; all where the broker cannot tell."""
    found = set()
    try:
        for some in _parts(futures):
            views = some[0]._client.broker.inspector.find([future.id for future in some])
            found |= {future for future, view in zip(some, views, strict=True) if view and view.state is State.RUNNING}
    except Unsupported:
        return set(futures)
    return found


def _parts(futures: Sequence[JobFuture[Any]]) -> list[Sequence[JobFuture[Any]]]:
    return [futures[start : start + TOGETHER] for start in range(0, len(futures), TOGETHER)]
