"""Constraints: the jobs that a job comes after, the limits and the fairness key it shares. Plain data in its message."""

from __future__ import annotations

from typing import Any

import msgspec

from longboat.core.bounds import Count, Name, Seconds
from longboat.errors import ConfigError


class JobLimit(msgspec.Struct, array_like=True, frozen=True):
    """One value of a limit's key. Jobs of the same key share it, whatever their task and queue."""

    key: Name
    running: Count | None = None
    """At most so many of them are leased at a time; None: any number."""
    starts: Count | None = None
    """At most so many of them are leased in any `per` seconds; None: any number."""
    per: Seconds = 0.0
    name: Name = ""
    """Of the rule that it was made by. Its numbers are those that workers have told of this name since (see
    contract/limit_numbers.py); the ones above hold where none are told, or it has no name."""


LATER = JobLimit("")
"""Stands for limits whose keys need the results of parents. It bounds nothing; who gets the results replaces it."""


class JobKey(msgspec.Struct, array_like=True, frozen=True):
    """The unique key that a job stands for, and when it no longer does."""

    text: Name
    until_started: bool = False
    """When it starts; else when it ends."""
    latest: bool = False
    """Until it starts, another call may replace it."""


Slots = int | list[Any]
"""Where a value comes from: the place of a parent in `after`, or a list of such places, nested as the value is."""
DEEPEST = 100
"""Lists within each other, at most."""


class Constraints(msgspec.Struct, array_like=True):
    """How a job depends on other jobs. Fields are only ever added at the end, with a default."""

    flow: Name = ""
    """The id of the flow it belongs to; brokers only carry it."""
    after: list[Name] = []
    """Ids of the jobs, its parents, that must have succeeded before it is ready. Their results come with its lease."""
    limits: list[JobLimit] = []
    """It is leased only while all of these have room."""
    fairness_key: Name = ""
    """Ready jobs of one queue and priority take turns by this key: one of each key, then the next of each. "": by age."""
    into: dict[str, Slots] = {}
    """By parameter of the task: the jobs whose results fill it. Brokers only carry it."""
    unique: JobKey | None = None
    """Set where jobs cannot be looked up: then whoever ends the job lets go of its key (contract/held.py)."""

    def __post_init__(self) -> None:
        """Raises ConfigError where `into` names no parents; of a stored job this makes its message undecodable."""
        for name, slots in self.into.items():
            _check(name, slots, len(self.after), DEEPEST)


def _check(name: str, slots: Any, parents: int, deep: int) -> None:
    if isinstance(slots, list) and deep:
        for each in slots:
            _check(name, each, parents, deep - 1)
    elif type(slots) is not int or not 0 <= slots < parents:
        raise ConfigError(
            f"into: {name!r} is filled from {slots!r:.100}, which is none of the {parents} places in `after`, "
            f"nor a list of them, at most {DEEPEST} deep"
        )
