"""Waiting for what nobody announces."""

from __future__ import annotations

import time
from collections.abc import Callable


def until(condition: Callable[[], object], patience: float = 15.0) -> None:
    assert within(patience, condition), "it did not happen in time"


def within(seconds: float, condition: Callable[[], object]) -> bool:
    """Whether it comes true by then."""
    due = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= due:
            return False
        time.sleep(0.005)
    return True
