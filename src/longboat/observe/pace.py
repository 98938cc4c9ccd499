"""Pace: how many attempts end per second now."""

from __future__ import annotations

import msgspec

from longboat.contract.kv import KV
from longboat.observe.history import GRAINS, slices


class Pace(msgspec.Struct):
    """Attempts per second."""

    ended: float = 0.0
    succeeded: float = 0.0
    failed: float = 0.0
    """Retried, or dead."""

    def add(self, other: Pace, share: float = 1.0) -> None:
        self.ended += other.ended * share
        self.succeeded += other.succeeded * share
        self.failed += other.failed * share


def paces(kv: KV, now: float) -> dict[tuple[str, str], Pace]:
    """By (queue, task): attempts that ended in about the last ten seconds, per second. Attempts count when they are written.

    Of the time bucket before the present one that part counts which these ten seconds cover.
    """
    width = GRAINS[0].width
    start = now // width * width
    found: dict[tuple[str, str], Pace] = {}
    for begun, slice_ in slices(kv, GRAINS[0], start - width, start + 1):
        share = (1.0 if begun == start else 1.0 - (now - start) / width) / width
        for name, tally in slice_.items():
            counted = Pace(tally.ended, tally.succeeded, tally.retried + tally.dead)
            found.setdefault(name, Pace()).add(counted, share)
    return found
