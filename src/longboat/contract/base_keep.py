"""How long ended jobs are kept."""

from __future__ import annotations

from longboat.contract.broker import DEAD_KEPT
from longboat.core.job import DEFAULT_KEEP, State


def kept_for(state: State, keep: float) -> float:
    """Seconds that a job with this `keep`, which ended so, stays readable.

    `keep` is for successes: a cancellation can be read even where nobody keeps results.
    """
    if state is State.DEAD:
        return DEAD_KEPT
    return keep if state is State.SUCCEEDED else keep or DEFAULT_KEEP
