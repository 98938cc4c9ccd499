"""Schedules: a recurring rule and what it enqueues. Pure: the times come in, the times go out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from itertools import islice, takewhile
from typing import Any, Literal, TypedDict, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from cronsim import CronSim, CronSimError
from msgspec.structs import replace

from longboat.core.clock import Duration, seconds
from longboat.core.constraints import Constraints, JobLimit
from longboat.core.job import DEFAULT_KEEP, DEFAULT_QUEUE, MESSAGE_VERSION, Job
from longboat.errors import ConfigError
from longboat.tasks.limits import UniqueKey
from longboat.tasks.template import checked_name

Missed = Literal["skip", "once", "all"]
Overlap = Literal["allow", "skip", "wait"]

ON_TIME = 60.0
"""Seconds that the latest tick may be late before it counts as missed: no scheduler was there."""
LAG = 5.0
"""Seconds that those before it may be late: a scheduler that is there takes no longer."""
CATCH_UP = 1000
"""At most so many missed ticks, the latest, are made up for."""


class ScheduleOptions(TypedDict, total=False):
    """What `app.schedule` may be given beside the rule."""

    args: tuple[Any, ...]
    """The task's positional arguments. Default: none."""
    kwargs: Mapping[str, Any] | None
    """The task's keyword arguments. Default: None."""
    name: str | None
    """The schedule's name, which no other one may have. Default: the task's name."""
    tz: str
    """The time zone of the rule, such as "Europe/Berlin". Default: "UTC"."""
    missed: Missed
    """Of the ticks at which no worker ran, "skip" all, or make up for "once" or "all" (at most 1,000). Default: "once"."""
    overlap: Overlap
    """While the job before has not ended, "allow" another, "skip" this tick, or "wait": enqueue one that waits until it has.
    Default: "allow"."""


class Schedule(msgspec.Struct, kw_only=True):
    """A rule by which a task's jobs are enqueued again and again. It is kept in the broker's KV as it is."""

    name: str
    """No two schedules have the same."""
    rule: str
    """A cron expression of five fields (or six, with seconds first), or "every 30s"."""
    tz: str = "UTC"
    """The rule's time zone, such as "Europe/Berlin"."""
    task: str
    """The name of the task."""
    payload: bytes
    """The arguments, encoded."""
    queue: str = DEFAULT_QUEUE
    """Where its jobs wait."""
    priority: int = 0
    """Of its jobs: higher first."""
    expires: float | None = None
    """Seconds after which a job of it is cancelled unless it has started; None: never."""
    keep: float = DEFAULT_KEEP
    """Seconds that a job of it stays readable after success."""
    missed: Missed = "once"
    """Which of the ticks are made up for at which no scheduler ran: none, the latest one, or all of them."""
    overlap: Overlap = "allow"
    """While the job before has not ended: enqueue another, skip this tick, or enqueue one that waits until it has."""
    paused: bool = False
    """It is not fired until it is resumed."""
    declared: bool = False
    """It is part of an app's code, and fired by the workers that have this code: it ends with the code."""
    constraints: Constraints | None = None
    """The limits and the fairness key of its jobs."""
    unique: UniqueKey | None = None
    """While another job stands for this key, a tick makes none."""
    headers: dict[str, str] = {}
    """Of its jobs: the retries and the timeout that its task was given by `using`."""

    def job(self, tick: float) -> Job:
        """The job of this tick. Its id is made of name and tick: however many schedulers enqueue it, there is one job."""
        job = Job(MESSAGE_VERSION, f"{self.name}@{stamp(tick)}", self.task, self.payload, self.queue, self.priority)
        job.expires, job.keep, job.enqueued = self.expires, self.keep, tick
        job.headers = {**self.headers, "schedule": self.name}
        job.constraints = self.constraints
        if self.overlap == "wait":
            its = self.constraints or Constraints()
            job.constraints = replace(its, limits=[*its.limits, JobLimit(f"schedule:{self.name}", running=1)])
        return job

    def ticks(self, after: float, until: float) -> list[float]:
        """When it is due in (after, until]: the latest CATCH_UP of these, as wall-clock seconds."""
        if period := period_of(self.rule):
            first, last = int(after // period) + 1, int(until // period)
            return [n * period for n in range(max(first, last - CATCH_UP + 1), last + 1)]
        found = list(takewhile(lambda tick: tick <= until, self._from(after)))
        return found[-CATCH_UP:]

    def next(self, after: float, count: int = 1) -> list[float]:
        """The next times at which it is due, in seconds since the epoch."""
        if period := period_of(self.rule):
            return [(int(after // period) + 1 + n) * period for n in range(count)]
        return list(islice(self._from(after), count))

    def due(self, after: float, now: float) -> list[float]:
        """The ticks to fire now, by the policy for missed ones."""
        ticks = self.ticks(after, now)
        if self.missed == "all" or not ticks:
            return ticks
        fresh = [tick for tick in ticks if tick > now - (ON_TIME if tick == ticks[-1] else LAG)]
        return fresh if fresh or self.missed == "skip" else ticks[-1:]

    def _from(self, after: float) -> Iterator[float]:
        start = datetime.fromtimestamp(after, ZoneInfo(self.tz))
        for moment in CronSim(self.rule, start):
            if (tick := moment.timestamp()) > after:
                yield tick

    def explain(self) -> str:
        """The rule in English."""
        return self.rule if period_of(self.rule) else CronSim(self.rule, datetime.now(UTC)).explain()


def every(period: Duration) -> str:
    """A rule for `app.schedule`: once in a period, such as "30s", counted from midnight UTC, 1970-01-01."""
    return f"every {period.total_seconds():.15g}s" if isinstance(period, timedelta) else f"every {period}"


def period_of(rule: str) -> float | None:
    """The period of "every 30s", in seconds; None for a cron expression. Raises ConfigError."""
    if not rule.startswith("every "):
        return None
    period = seconds(rule.removeprefix("every ").strip(), "every")
    if period < 1:
        raise ConfigError(f"schedule: {rule!r} is more often than once a second")
    return period


def checked(schedule: Schedule) -> Schedule:
    """Raises ConfigError, naming what is wrong."""
    checked_name(schedule.name, "schedule")
    if not isinstance(schedule.rule, str):
        raise ConfigError(f"schedule {schedule.name!r}: {_no_rule(schedule.rule)}")
    try:
        ZoneInfo(schedule.tz)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ConfigError(f"schedule {schedule.name!r}: no time zone is named {schedule.tz!r}") from None
    for option, value, choices in (("missed", schedule.missed, Missed), ("overlap", schedule.overlap, Overlap)):
        if value not in get_args(choices):
            raise ConfigError(f"schedule {schedule.name!r}: {option}={value!r} is not one of {', '.join(get_args(choices))}")
    try:
        if period_of(schedule.rule) is None:
            CronSim(schedule.rule, datetime.now(UTC))
    except CronSimError as error:
        raise ConfigError(
            f"schedule {schedule.name!r}: {schedule.rule!r} is no cron expression ({error}); "
            'write "minute hour day month weekday", such as "*/5 * * * *" (a sixth field in front of them is the second), '
            'or every("30s")'
        ) from None
    return schedule


def _no_rule(value: object) -> str:
    period = value.total_seconds() if isinstance(value, timedelta) else value
    meant = f"{period:.15g}s" if isinstance(period, int | float) else "30s"
    return f'{value!r} is no rule: write every("{meant}"), or a cron expression such as "*/5 * * * *"'


def stamp(tick: float) -> str:
    """A tick's time as its job's id has it."""
    return datetime.fromtimestamp(tick, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
