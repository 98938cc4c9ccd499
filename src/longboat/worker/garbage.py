"""Garbage collection in a process that does nothing but work."""

from __future__ import annotations

import gc

YOUNG = 10_000
"""New containers that make the collector look. A job in hand is about fifteen of them, and none of ours are cycles."""


def calm() -> None:
    """Let the collector leave alone what is loaded, and look at what is new less often. Call it once all is imported.

    For worker processes of our own only: a program that a worker is part of decides for itself. At Python's default of
    700 the collector takes an eighth of the time of short jobs, going again and again through those that wait.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, 20, 20)
