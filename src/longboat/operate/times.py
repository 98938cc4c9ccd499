"""Times as people type them into a search: 03:12, 2026-11-29, 2026-11-29T03:12:30+01:00."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import NamedTuple

from longboat.core.clock import SYSTEM
from longboat.core.job import State
from longboat.core.views import JobView
from longboat.errors import ConfigError

FORMS = "a time such as 03:12, 03:12:30, 2026-11-29, 2026-11-29T03:12 or 2026-11-29T03:12+01:00"

_DATE = r"(?P<date>\d{4}-\d{2}-\d{2})"
_CLOCK = r"(?P<clock>\d{1,2}:\d{2}(?P<second>:\d{2}(?:\.(?P<fraction>\d{1,6}))?)?)"
_TIME = re.compile(
    rf"(?:{_DATE}(?:[T ]{_CLOCK})?|{_CLOCK.replace('?P<', '?P<only_')})(?P<zone>Z|[+-]\d{{2}}:?\d{{2}})?", re.ASCII
)


class Span(NamedTuple):
    """From the first moment that a text means to the end of the last: a minute, a second, a day. Seconds since the epoch."""

    begin: float
    end: float


def span_of(text: str, now: float) -> Span:
    """What a text means: with an offset as that says, else in this machine's zone; without a date, the last such time.

    Raises ConfigError for what is no time.
    """
    found = _TIME.fullmatch(text)
    if found is None:
        raise ConfigError(f"{text!r} is not {FORMS}")
    part = {name.removeprefix("only_"): value for name, value in found.groupdict().items() if value is not None}
    try:
        return _span(part, now)
    except (ValueError, OverflowError, OSError) as error:
        raise ConfigError(f"{text!r} is not a time: {error}") from None


def _span(part: dict[str, str], now: float) -> Span:
    zone = _zone(part.get("zone", ""))
    hour, _, rest = part.get("clock", "00:00").partition(":")
    day = part.get("date") or f"{datetime.fromtimestamp(now, zone):%Y-%m-%d}"
    begin = datetime.fromisoformat(f"{day}T{hour:0>2}:{rest}").replace(tzinfo=zone)
    if "date" not in part and begin.timestamp() > now:
        begin -= timedelta(days=1)  # of the clock on the wall: a day may have 23 hours
    if "clock" not in part:
        end = begin + timedelta(days=1)
    elif "fraction" in part:
        end = begin + timedelta(seconds=10.0 ** -len(part["fraction"]))
    else:
        return Span(begin.timestamp(), begin.timestamp() + (1.0 if "second" in part else 60.0))
    return Span(begin.timestamp(), end.timestamp())


def _zone(text: str) -> tzinfo | None:
    """None: this machine's."""
    if not text:
        return None
    if text == "Z":
        return UTC
    hours, minutes = int(text[1:3]), int(text[-2:])
    return timezone((1 if text[0] == "+" else -1) * timedelta(hours=hours, minutes=minutes))


def between(words: Sequence[tuple[str, str]], now: float) -> tuple[float | None, float | None]:
    """When the jobs ran that ("at", "after" or "before", text) ask for: from and until, None where nothing is said.

    Raises ConfigError, which says what is not understood.
    """
    since: list[float] = []
    until: list[float] = []
    for word, text in words:
        try:
            begin, end = span_of(text, now)
        except ConfigError as error:
            raise ConfigError(f"search: {word}: {error}") from None
        if word != "before":
            since.append(begin)
        if word != "after":
            until.append(end if word == "at" else begin)
    first, last = max(since, default=None), min(until, default=None)
    if first is not None and last is not None and first >= last:
        raise ConfigError(
            f"search: no time is {told(first, last)}. A time without a date is the last such time; write the date with it"
        )
    return first, last


def ran(job: JobView, since: float, until: float) -> bool:
    """Whether the job ran at some moment in [since, until): in its latest attempt, or in an earlier one that failed then.

    Of a job that ended without a start, its end counts.
    """
    failed = [failure.at for failure in job.failures]
    begun, over = job.started, job.ended or (SYSTEM.now() if job.state is State.RUNNING else max(failed, default=None))
    if over is not None and (over if begun is None or begun > over else begun) < until and over >= since:
        return True
    return any(since <= at < until for at in failed)


def iso(at: float) -> str:
    """A text that means this moment on every machine."""
    return datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")


def told(since: float | None, until: float | None) -> str:
    """From when to when, in this machine's zone, for people."""
    words = [f"{word} {_local(at)}" for word, at in (("from", since), ("until", until)) if at is not None]
    return " ".join(words)


def _local(at: float) -> str:
    when = datetime.fromtimestamp(at).astimezone()
    return f"{when:%Y-%m-%d %H:%M:%S} {when:%Z}"
