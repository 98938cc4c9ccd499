"""Trend: how often something happened by time, finer the later it was, in a few numbers."""

from __future__ import annotations

from typing import NamedTuple


class Step(NamedTuple):
    """Counts so old have steps of this width."""

    width: int
    keep: int
    """Seconds after which they count to the next, wider step."""


STEPS = (Step(60, 2 * 3600), Step(600, 24 * 3600), Step(3600, 7 * 86400), Step(86400, 30 * 86400))
"""In seconds."""

Trend = list[list[tuple[int, int]]]
"""For each of STEPS, (start, count) in order of time: at most 470 of them."""


def added(trend: Trend, at: float, count: int) -> Trend:
    """The trend with so many more at this time. What is too old for a step counts to the next."""
    found: Trend = []
    more = [(int(at), count)]
    for place, step in enumerate(STEPS):
        sums: dict[int, int] = {}
        for start, number in (*(trend[place] if place < len(trend) else ()), *more):
            start -= start % step.width
            sums[start] = sums.get(start, 0) + number
        oldest = int(at) - step.keep
        more = [(start, number) for start, number in sums.items() if start + step.width <= oldest]
        found.append(sorted((start, number) for start, number in sums.items() if start + step.width > oldest))
    return found


def count_since(trend: Trend, at: float) -> int:
    """How often from then on. What happened in the step that it lies in counts."""
    return sum(
        number for step, counts in zip(STEPS, trend, strict=False) for start, number in counts if start + step.width > at
    )


def points(trend: Trend, until: float, length: float, count: int) -> list[float]:
    """How often in each of so many equal parts of the time up to `until`; what a wider step holds is spread over it."""
    begin, part = until - length, length / count
    found = [0.0] * count
    for step, counts in zip(STEPS, trend, strict=False):
        for start, number in counts:
            last = min(float(start + step.width), until)
            first, whole = max(float(start), begin), last - start
            place = int((first - begin) / part)
            while first < last and place < count:
                end = min(last, begin + (place + 1) * part)
                found[place] += number * (end - first) / whole
                first, place = end, place + 1
    return found
