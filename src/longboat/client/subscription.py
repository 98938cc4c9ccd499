"""Subscription: who waits for jobs by their handles, as the inbox sees it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from longboat.core.job import Result
from longboat.tasks.handle import Handle


class Subscription:
    """Sets `known` of the handles of each job that has ended, and tells its id."""

    def __init__(
        self, waiting: dict[str, list[Handle[Any]]], sink: Callable[[str], None], failed: Callable[[Exception], None]
    ) -> None:
        self._waiting = waiting
        self._sink = sink
        self.failed = failed

    def heard(self, job_id: str, what: Result | Exception) -> None:
        for handle in self._waiting.pop(job_id):  # those that have heard are not kept for the others
            handle.known = what
        self._sink(job_id)
