"""The app of bench.jobs for a worker that counts nothing and writes no history."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from bench.jobs import app
from longboat.contract.broker import Settlement
from longboat.executors.contract import Call
from longboat.worker.recorder import Recorder

__all__ = ["app"]


def _settled(_self: Recorder, _batch: Sequence[Settlement]) -> None:
    """Count nothing."""


def _sample(self: Recorder, _call: Call) -> None:
    self.next_sample = sys.maxsize


def _tend(_self: Recorder, now: float) -> float:
    return now + 3600.0


Recorder.settled = _settled  # type: ignore[assignment, method-assign]  # left out to see its cost
Recorder.sample = _sample  # type: ignore[assignment, method-assign]  # left out to see its cost
Recorder.run = _tend  # type: ignore[assignment, method-assign]  # left out to see its cost
