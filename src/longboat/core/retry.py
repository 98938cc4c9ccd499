"""RetryPolicy: (attempt, chance) -> the pause before the next attempt, or None to give up. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from longboat.core.clock import Duration, seconds
from longboat.errors import ConfigError

Backoff = Duration | Sequence[Duration]
"""The first pause, doubled for each further attempt; or the pauses themselves, the last one repeated."""

LONGEST = 3600.0
"""A doubled pause stops growing here (seconds)."""


class RetryPolicy(msgspec.Struct, frozen=True):
    """How often and when a failed job is tried again.

    Each pause is a random time between half the nominal pause and all of it, so that jobs that failed together do not come
    back together. A list of pauses is kept exactly.
    """

    retries: int
    """Attempts after the first."""
    base: float
    """First pause, seconds; doubled for each further attempt up to LONGEST."""
    pauses: tuple[float, ...] = ()
    """These pauses instead, the last one repeated."""

    def delay(self, attempt: int, chance: float) -> float | None:
        """Seconds to wait after failed attempt number `attempt` (from 1), `chance` in [0, 1); None: give up."""
        if attempt > self.retries:
            return None
        if self.pauses:
            return self.pauses[min(attempt, len(self.pauses)) - 1]
        nominal = min(LONGEST, self.base * 2.0 ** min(attempt - 1, 60))
        return nominal * (0.5 + chance / 2)


def policy(retries: int, backoff: Backoff) -> RetryPolicy:
    """The policy for a task's `retries` and `backoff`. Raises ConfigError for values that make none."""
    if isinstance(retries, bool) or not isinstance(retries, int) or not 0 <= retries <= 10_000:
        raise ConfigError(f"retries: {retries!r} must be a whole number from 0 to 10,000.")
    if isinstance(backoff, Sequence) and not isinstance(backoff, str):
        if not backoff:
            raise ConfigError("backoff: the list of pauses is empty.")
        return RetryPolicy(retries, 0.0, tuple(seconds(pause, "backoff") for pause in backoff))
    return RetryPolicy(retries, seconds(backoff, "backoff"))
