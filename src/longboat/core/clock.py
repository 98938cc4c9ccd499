"""Time: the Clock that brokers and workers read, and durations as people write them."""

from __future__ import annotations

import re
import time
from datetime import timedelta
from typing import Protocol

from longboat.core.bounds import LONGEST
from longboat.errors import ConfigError

Duration = float | int | str | timedelta
"""Seconds as a number, a timedelta, or text such as "500ms", "30s", "5m", "2h", "1d", "1h30m"."""

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)")
_WHOLE = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h|d|w))+")


class Clock(Protocol):
    """Wall time decides schedules, leases and expiry in a store; monotonic time measures inside one process."""

    def now(self) -> float:
        """Seconds since the epoch."""
        ...

    def monotonic(self) -> float:
        """Seconds since an arbitrary moment; never goes back."""
        ...


class SystemClock:
    """The machine's clocks."""

    now = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)


SYSTEM = SystemClock()


def seconds(value: Duration, what: str = "duration") -> float:
    """The duration in seconds.

    Raises ConfigError, naming `what`, for negative, non-finite or unreadable values.
    """
    if isinstance(value, timedelta):
        number = value.total_seconds()
    elif isinstance(value, str):
        text = value.strip().replace(" ", "")
        if _WHOLE.fullmatch(text):
            number = sum(float(n) * _UNITS[unit] for n, unit in _PART.findall(text))
        else:
            try:
                number = float(text)
            except ValueError:
                raise ConfigError(
                    f"{what}: {value!r} is not a duration. Write seconds or text such as '30s', '5m', '2h'."
                ) from None
    elif isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError(f"{what}: {value!r} is not a duration. Write seconds or text such as '30s', '5m', '2h'.")
    else:
        number = float(value)
    if not 0 <= number < LONGEST:  # also refuses NaN and infinity
        raise ConfigError(f"{what}: {value!r} must be zero or more, and finite.")
    return number
