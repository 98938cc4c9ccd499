"""Waiting for what nobody announces."""

from __future__ import annotations

import time
from collections.abc import Callable


def until(condition: Callable[[], object], patience: float = 15.0) -> None:
    due = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < due, "it did not happen in time"
        time.sleep(0.005)
