"""Rules over all jobs of a task by a key made from their arguments: limits, fairness, calls that count as one."""

from __future__ import annotations

import re
import string
from collections.abc import Mapping
from hashlib import sha256
from inspect import Parameter
from typing import Any, Literal

import msgspec

from longboat.core.clock import Duration, seconds
from longboat.core.constraints import JobLimit
from longboat.errors import BadArguments, ConfigError

LONGEST_KEY = 200
"""Characters of a key. A longer one is cut, and ends in its digest."""

_rate = re.compile(r"(\d+)\s*/\s*(.+)").fullmatch


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """At most so many jobs running, or started in a time, for each value of a key, over all workers together.

    `key`: made from the arguments, such as "{customer}" or "{order.shop}"; "": one limit for the whole task. `running`: so
    many at a time. `rate`: so many starts in a time, such as "100/m", "5/s", "10/30s". `name`: limits of the same name and
    key are shared between tasks; without one each task has its own.
    """

    key: str = ""
    running: int | None = None
    rate: str | None = None
    name: str = ""

    def for_arguments(self, task: str, arguments: Mapping[str, Any]) -> JobLimit:
        starts, per = _parsed(self.rate) if self.rate is not None else (None, 0.0)
        return JobLimit(short(f"{self.name or task}:{rendered(self.key, task, arguments)}"), self.running, starts, per)


class Unique(msgspec.Struct, frozen=True, kw_only=True):
    """Calls that count as one while a job of theirs is there.

    `by`: made from the arguments, such as "{user}"; None: all of them. `until`: a second call has no effect, and returns the
    first one's job, until that job has "started", has "ended", or for a time, such as "10m" (so calls are throttled).
    `latest`: the last call wins instead, and replaces a job that has not started (with a delay: calls are debounced).
    """

    by: str | None = None
    until: Literal["started", "ended"] | Duration = "ended"
    latest: bool = False

    def key(self, task: str, arguments: Mapping[str, Any], payload: bytes) -> str:
        what = payload.hex() if self.by is None else rendered(self.by, task, arguments)
        return f"{short(task)}:{sha256(what.encode()).hexdigest()[:32]}"

    @property
    def window(self) -> float | None:
        """The seconds of `until`, if it is a time."""
        return None if self.until in ("started", "ended") else seconds(self.until, "until")


def check_limit(limit: Limit, task: str, parameters: Mapping[str, Parameter]) -> Limit:
    """Raises ConfigError for one that makes no sense."""
    if not isinstance(limit, Limit):
        raise ConfigError(f"limit: {limit!r} must be a longboat.Limit, such as Limit(key='{{customer}}', running=3)")
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


def check_template(template: str, option: str, task: str, parameters: Mapping[str, Parameter]) -> str:
    """Raises ConfigError for a template that names what is no parameter of the task."""
    try:
        names = [re.split(r"[.\[]", name)[0] for _, name, _, _ in string.Formatter().parse(template) if name is not None]
    except ValueError as error:
        raise ConfigError(f"{option}: {template!r} cannot be read: {error}") from None
    open_ended = any(each.kind is each.VAR_KEYWORD for each in parameters.values())
    unknown = [name for name in names if name not in parameters]
    if unknown and not open_ended:
        raise ConfigError(f"{option}: {template!r} names {unknown[0]!r}, which is no parameter of {task}")
    return template


def rendered(template: str, task: str, arguments: Mapping[str, Any]) -> str:
    """The key for these arguments. Raises BadArguments."""
    try:
        return template.format_map(arguments)
    except (KeyError, AttributeError, IndexError, TypeError, ValueError) as error:
        raise BadArguments(f"task {task!r}: the key {template!r} cannot be made of its arguments: {error!r}") from None


def short(key: str) -> str:
    return key if len(key) <= LONGEST_KEY else f"{key[: LONGEST_KEY - 33]}~{sha256(key.encode()).hexdigest()[:32]}"


def _parsed(rate: str) -> tuple[int, float]:
    found = _rate(rate) if isinstance(rate, str) else None
    if not found or not int(found[1]):
        raise ConfigError(f"limit: rate={rate!r} must be a number and a time, such as '100/m', '5/s' or '10/30s'")
    time = found[2].strip()
    return int(found[1]), seconds(f"1{time}" if time.isalpha() else time, "rate")
