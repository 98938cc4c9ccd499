"""The data of charts: the history, combined into as many points as a chart can show."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from longboat.core.clock import SYSTEM
from longboat.dashboard.ask import Ask
from longboat.dashboard.site import Site
from longboat.observe import depth, history
from longboat.observe.history import GRAINS, Grain
from longboat.observe.sketch import Sketch, middle, quantiles, top
from longboat.observe.tally import Tally

POINTS = 240
BARS = 12
"""Of a histogram, at most."""
LAG = 1.0
"""Seconds that workers' counts are behind, on average."""
LATE = 4.0
"""Seconds that a point must cover before it is shown."""


class Range(msgspec.Struct, frozen=True):
    """A range of time up to now."""

    name: str
    text: str
    grain: Grain
    length: float


RANGES = {
    each.name: each
    for each in (
        Range("15m", "15 minutes", GRAINS[0], 900),
        Range("2h", "2 hours", GRAINS[0], 7200),
        Range("24h", "24 hours", GRAINS[1], 86400),
        Range("7d", "7 days", GRAINS[2], 7 * 86400),
        Range("90d", "90 days", GRAINS[2], 90 * 86400),
    )
}
FIRST = "15m"

OUTCOMES = ("succeeded", "retried", "dead", "cancelled")
QUANTILES = (0.5, 0.95, 0.99)


def ranges(ask: Ask) -> dict[str, Any]:
    """For a page with charts: the ranges, and the one chosen in its query."""
    return {"ranges": RANGES.values(), "chosen": RANGES.get(ask.query.get("range", ""), RANGES[FIRST])}


def series(site: Site, name: str, queue: str = "", task: str = "") -> dict[str, Any]:
    """By time: attempts ended per second, by outcome; quantiles of wait and run times; how many jobs there were."""
    span = RANGES.get(name, RANGES[FIRST])
    keep = 1.0 if span.length <= 900 else 5.0 if span.length <= 7200 else 30.0
    key = f"series {span.name} {queue} {task}"
    nothing = {"t": [], "step": 10, **{name: [] for name in (*OUTCOMES, "wait", "run")}, "depth": {"t": []}}
    return site.kept(key, lambda: site.if_there(lambda: _series(site, span, queue, task), nothing), keep)


def _series(site: Site, span: Range, queue: str, task: str) -> dict[str, Any]:
    now = SYSTEM.now()
    width = span.grain.width
    step = max(1.0, span.length / POINTS // width) * width
    first = (now - span.length) // step * step
    count = int((now - first - LATE) // step) + 1
    tallies = [Tally() for _ in range(count)]
    kv = site.broker.kv
    for start, slice_ in history.slices(kv, span.grain, first, now + 1):
        if start - first >= count * step:
            break
        for (of_queue, of_task), tally in slice_.items():
            if (not queue or queue == of_queue) and (not task or task == of_task):
                tallies[int((start - first) // step)].add(tally)
    found: dict[str, Any] = {"t": [int(first + n * step) for n in range(count)], "step": step}
    for outcome in OUTCOMES:
        found[outcome] = [round(getattr(tally, outcome) / step, 4) for tally in tallies]
        found[outcome][-1] = round(getattr(tallies[-1], outcome) / min(step, now - LAG - first - (count - 1) * step), 4)
    for what in ("wait", "run"):
        points = [quantiles(getattr(tally, what), QUANTILES) for tally in tallies]
        found[what] = [list(line) for line in zip(*points, strict=True)]
    found["depth"] = _depth(site, span, first, queue) if not task else {"t": []}
    return found


def _depth(site: Site, span: Range, first: float, queue: str) -> dict[str, Any]:
    taken = depth.samples(site.broker.kv, span.grain, first, queue)
    every = max(1, len(taken) // POINTS)
    kept = taken[::every]
    columns = {state.value: [row[place] for _, row in kept] for place, state in enumerate(depth.SHOWN)}
    return {"t": [at for at, _ in kept], **columns}


def line(values: list[float], width: int = 120, height: int = 28) -> str:
    """The points of an SVG polyline; empty if there is nothing to draw."""
    top = max(values, default=0.0)
    if top <= 0 or len(values) < 2:
        return ""
    across = width / (len(values) - 1)
    return " ".join(f"{n * across:.1f},{height - 2 - (height - 4) * value / top:.1f}" for n, value in enumerate(values))


class Bar(msgspec.Struct, frozen=True):
    """One bar of a histogram."""

    label: str
    count: int
    height: float
    """Relative to the highest."""


def bars(sketch: Sketch, label: Callable[[float], str]) -> list[Bar]:
    """A histogram of at most BARS bars from the shortest duration to the longest, each as much wider as the one before."""
    if not sketch:
        return []
    first, last = min(sketch), max(sketch)
    wide = -(-(last - first + 1) // BARS)
    counts = [0] * ((last - first) // wide + 1)
    for bucket, count in sketch.items():
        counts[(bucket - first) // wide] += count
    highest = max(counts)
    ends = [first + wide * (n + 1) - 1 for n in range(len(counts))]
    return [
        Bar(label(middle(end)) if wide == 1 else label(top(end)), count, count / highest)
        for end, count in zip(ends, counts, strict=True)
    ]
