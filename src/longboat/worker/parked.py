"""ParkedJobs: how many jobs of which task were parked here, and which of them are to be told of now."""

from __future__ import annotations

import threading
from typing import NamedTuple

REPORTED = 10
"""Tasks that are told of within a minute, at most: those with the most jobs."""
REMINDED = 60.0
"""Seconds between two reports of one task."""
GATHERED = 1.0
"""Seconds from the first such job of a task to its report: jobs that come together are counted together."""
NAMES = 1000
"""Tasks that are counted, at most."""


class Parked(NamedTuple):
    """Jobs of one task since it was told of last."""

    task: str
    jobs: int
    reason: str
    """Why the arguments of the last one do not fit; empty: the task is not known here."""
    since: float
    """When the first of them was parked (monotonic)."""


class ParkedJobs:
    """Any thread may use it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._parked: dict[tuple[str, bool], Parked] = {}
        """By task and whether the worker knows it."""
        self._told: dict[tuple[str, bool], float] = {}
        """When these were told of."""

    def add(self, task: str, reason: str, now: float) -> None:
        key = task, reason != ""
        with self._lock:
            before = self._parked.get(key)
            if before is not None:
                self._parked[key] = before._replace(jobs=before.jobs + 1, reason=reason)
            elif len(self._parked) < NAMES:
                self._parked[key] = Parked(task, 1, reason, now)

    def due(self, now: float) -> list[Parked]:
        """What to tell of now; at math.inf, what was not told of yet, as it would be told of later."""
        if not self._parked:
            return []
        with self._lock:
            self._told = {key: at for key, at in self._told.items() if now - at < REMINDED}
            due = {
                key: found for key, found in self._parked.items() if key not in self._told and now - found.since >= GATHERED
            }
            most = sorted(due, key=lambda key: due[key].jobs, reverse=True)[: REPORTED - len(self._told)]
            self._told |= dict.fromkeys(most, now)
            return [self._parked.pop(key) for key in most]
