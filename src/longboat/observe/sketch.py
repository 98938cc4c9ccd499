"""Sketches: durations counted in narrow buckets. A percentile of any number of sketches together is at most 2 % off."""

from __future__ import annotations

import math
from collections.abc import Sequence

GROWTH = 1.04
"""How much wider each bucket is than the one before."""
ERROR = (GROWTH - 1) / (GROWTH + 1)
"""The greatest relative error of a percentile of durations above FIRST: 1.96 %."""
FIRST = 1e-6
"""Seconds up to which durations count as none."""
LONGEST = 1e10
"""Seconds: longer durations count as this."""
_LOG = math.log(GROWTH)

Sketch = dict[int, int]
"""By place of a bucket: how many samples it holds."""


def place(seconds: float) -> int:
    """The bucket of a duration. Bucket n holds what is above FIRST * GROWTH ** (n - 1), up to FIRST * GROWTH ** n."""
    return math.ceil(math.log(min(seconds, LONGEST) / FIRST) / _LOG) if seconds > FIRST else 0


LAST = place(LONGEST)
"""The last bucket."""


def middle(bucket: int) -> float:
    """The duration that stands for all in a bucket: as far from its lower end as from its upper one, relative to each."""
    return FIRST * GROWTH**bucket * 2 / (GROWTH + 1) if bucket > 0 else 0.0


def top(bucket: int) -> float:
    """The upper end of a bucket."""
    return FIRST * GROWTH**bucket


def put(sketch: Sketch, seconds: float, count: int = 1) -> None:
    bucket = place(seconds)
    sketch[bucket] = sketch.get(bucket, 0) + count


def merge(sketch: Sketch, more: Sketch) -> None:
    """Add what `more` holds."""
    get = sketch.get
    for bucket, count in more.items():
        sketch[bucket] = get(bucket, 0) + count


def merged(*sketches: Sketch) -> Sketch:
    """What all of these hold."""
    found: Sketch = {}
    for sketch in sketches:
        merge(found, sketch)
    return found


def quantiles(sketch: Sketch, parts: Sequence[float]) -> list[float | None]:
    """The shortest durations that these shares of the samples (growing, such as 0.95) do not exceed. None without any."""
    if not sketch:
        return [None] * len(parts)
    ordered, count = sorted(sketch.items()), sum(sketch.values())
    found: list[float | None] = []
    seen, at = ordered[0][1], 0
    for part in parts:
        while seen < count * part - 1e-9 and at + 1 < len(ordered):
            at += 1
            seen += ordered[at][1]
        found.append(middle(ordered[at][0]))
    return found


def quantile(sketch: Sketch, part: float) -> float | None:
    """The shortest duration that this share of the samples does not exceed. None without samples."""
    return quantiles(sketch, [part])[0]


def total(sketch: Sketch) -> float:
    """The sum of all durations, within ERROR."""
    return sum(middle(bucket) * count for bucket, count in sketch.items())


def mean(sketch: Sketch) -> float | None:
    """The mean duration, within ERROR. None without samples."""
    return total(sketch) / sum(sketch.values()) if sketch else None


def coarse(sketch: Sketch, step: int) -> Sketch:
    """The same samples, `step` buckets in one."""
    if step == 1:
        return sketch
    found: Sketch = {}
    for bucket, count in sketch.items():
        merge(found, {min(LAST, bucket - bucket % step + step // 2): count})
    return found


def packed(sketch: Sketch) -> list[int]:
    """For storing, in two or three bytes a bucket: how far each is from the one before, and how many it holds."""
    numbers, last = [], 0
    for bucket, count in sorted(sketch.items()):
        numbers += [bucket - last, count]
        last = bucket
    return numbers


def unpacked(numbers: Sequence[int]) -> Sketch:
    """What was packed; of anything else, the buckets that there can be."""
    sketch, bucket = {}, 0
    for gap, count in zip(numbers[::2], numbers[1::2], strict=False):
        bucket += gap
        if 0 <= bucket <= LAST and count > 0:
            sketch[bucket] = count
    return sketch
