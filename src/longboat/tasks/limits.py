"""Rules over all jobs of a task by a key made from their arguments: limits, fairness, calls that count as one."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from functools import lru_cache
from inspect import Parameter
from typing import Any, Literal

import msgspec

from longboat.core.clock import Duration, seconds
from longboat.core.constraints import JobLimit
from longboat.errors import ConfigError
from longboat.tasks.keys import check_template, digest, rendered, short

_rate = re.compile(r"(\d+)\s*/\s*(.+)").fullmatch


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """At most so many jobs running, or started in a time, for each value of a key, over all workers together.

    Give `running` or `rate`, or both.
    """

    key: str = ""
    """Made from the arguments, such as "{customer}" or "{order.shop}"; "": one limit for the whole task."""
    running: int | None = None
    """So many at a time."""
    rate: str | None = None
    """So many starts in a time, such as "100/m", "5/s" or "10/30s"."""
    name: str = ""
    """Limits of the same name and key are shared between tasks; without a name each task has its own."""

    @property
    def numbers(self) -> tuple[int | None, int | None, float]:
        """How many may run, and how many may start in so many seconds."""
        starts, per = _parsed(self.rate) if self.rate is not None else (None, 0.0)
        return self.running, starts, per

    def for_arguments(self, task: str, arguments: Mapping[str, Any], name: str) -> JobLimit:
        """What a job of the task keeps: the key and, for as long as workers tell no others of this name, the numbers."""
        return JobLimit(short(f"{self.name or task}:{rendered(self.key, task, arguments)}"), *self.numbers, name)


class Unique(msgspec.Struct, frozen=True, kw_only=True):
    """Calls that count as one while a job of theirs is there: a second call returns the first one's job."""

    by: str | None = None
    """Made from the arguments, such as "{user}"; None: all of them."""
    until: Literal["started", "ended"] | Duration = "ended"
    """Calls count as one until that job has "started", has "ended", or for a time, such as "10m": so calls are throttled."""
    latest: bool = False
    """The last call wins instead, and replaces a job that has not started. With a delay, calls are debounced."""

    def key(self, task: str, arguments: Mapping[str, Any]) -> UniqueKey:
        return UniqueKey(
            f"{short(task)}:{digest(rendered(self.by, task, arguments))}", self.until == "started", self.window, self.latest
        )

    @property
    def window(self) -> float | None:
        """The seconds of `until`, if it is a time."""
        return None if self.until in ("started", "ended") else seconds(self.until, "until")


class UniqueKey(msgspec.Struct, frozen=True):
    """What the calls share that count as one, and how long a job of theirs stands for it."""

    text: str
    until_started: bool = False
    """Until it has started; else until it has ended."""
    window: float | None = None
    """For so many seconds instead."""
    latest: bool = False
    """The last call's, until it has started."""


@lru_cache
def names_of(task: str, limits: tuple[Limit, ...]) -> list[str]:
    """Of each limit of a task: the name under which workers tell its numbers. It does not depend on the numbers."""
    alike: Counter[str] = Counter()
    names = []
    for limit in limits:
        name = f"{task}:{limit.name}:{limit.key}"
        names.append(short(f"{name}#{alike[name]}" if alike[name] else name))
        alike[name] += 1
    return names


def check_limit(limit: Limit, task: str, parameters: Mapping[str, Parameter]) -> Limit:
    """Raises ConfigError for one that makes no sense."""
    if not isinstance(limit, Limit):
        meant = f"Limit(rate='{limit}')" if isinstance(limit, str) and _rate(limit) else "Limit(key='{customer}', running=3)"
        raise ConfigError(f"limit: {limit!r} must be a longboat.Limit, such as {meant}")
    if limit.running is None and limit.rate is None:
        raise ConfigError("limit: give running= or rate=, or both")
    if limit.running is not None and limit.running < 1:
        raise ConfigError(f"limit: running={limit.running} lets nothing run")
    if limit.rate is not None:
        _parsed(limit.rate)
    check_template(limit.key, "limit", task, parameters)
    return limit


def check_unique(unique: Unique, task: str, parameters: Mapping[str, Parameter]) -> Unique:
    """Raises ConfigError for one that makes no sense."""
    if not isinstance(unique, Unique):
        raise ConfigError(f"unique: {unique!r} must be a longboat.Unique, such as Unique(by='{{user}}')")
    if unique.window is not None and unique.latest:
        raise ConfigError("unique: latest=True replaces a job that has not started: it needs until='started' or 'ended'")
    check_template(unique.by or "", "unique", task, parameters)
    return unique


def _parsed(rate: str) -> tuple[int, float]:
    found = _rate(rate) if isinstance(rate, str) else None
    if not found or not int(found[1]):
        raise ConfigError(f"limit: rate={rate!r} must be a number and a time, such as '100/m', '5/s' or '10/30s'")
    time = found[2].strip()
    return int(found[1]), seconds(f"1{time}" if time.isalpha() else time, "rate")
