"""Constraints: the jobs that a job comes after, the limits and the fairness key it shares. Plain data in its message."""

from __future__ import annotations

from typing import Any

import msgspec


class JobLimit(msgspec.Struct, array_like=True, frozen=True):
    """One value of a limit's key. Jobs of the same key share it, whatever their task and queue."""

    key: str
    running: int | None = None
    """At most so many of them are leased at a time; None: any number."""
    starts: int | None = None
    """At most so many of them are leased in any `per` seconds; None: any number."""
    per: float = 0.0
    name: str = ""
    """Of the rule that it was made by. Its numbers are those that workers have told of this name since (see
    contract/limit_numbers.py); the ones above hold where none are told, or it has no name."""


Slots = int | list[Any]
"""Where a value comes from: the place of a parent in `after`, or a list of such places, nested as the value is."""


class Constraints(msgspec.Struct, array_like=True):
    """How a job depends on other jobs. Fields are only ever added at the end, with a default."""

    flow: str = ""
    """The id of the flow it belongs to; brokers only carry it."""
    after: list[str] = []
    """Ids of the jobs, its parents, that must have succeeded before it is ready. Their results come with its lease."""
    limits: list[JobLimit] = []
    """It is leased only while all of these have room."""
    fairness_key: str = ""
    """Ready jobs of one queue and priority take turns by this key: one of each key, then the next of each. "": by age."""
    into: dict[str, Slots] = {}
    """By parameter of the task: the jobs whose results fill it. Brokers only carry it."""
