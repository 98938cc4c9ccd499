"""The data of charts: the history, combined into as many points as a chart can show."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from markupsafe import Markup

from longboat.core.clock import SYSTEM
from longboat.dashboard.ranges import Range
from longboat.dashboard.site import Site
from longboat.observe import depth, history
from longboat.observe.sketch import Sketch, middle, quantiles, top
from longboat.observe.tally import LATENCIES, Tally

POINTS = 240
BARS = 12
"""Of a histogram, at most."""
WHOLE = 60.0
"""Seconds up to which a point is shown once it is over: of a longer one the part that has passed tells enough."""
DRAWN = 2.0
"""Seconds for which charts stay as they are."""
WRITTEN = 2.0
"""Seconds after which workers have written what they did."""

OUTCOMES = ("succeeded", "retried", "dead", "cancelled")
QUANTILES = (0.5, 0.95, 0.99)


def series(site: Site, span: Range, queue: str = "", task: str = "") -> dict[str, Any]:
    """By time: attempts ended per second, by outcome; quantiles of wait and run times; how many jobs there were; deploys."""
    key = f"series {span.name} {queue} {task}"
    nothing: dict[str, Any] = {"t": [], "step": 10, **{name: [] for name in (*OUTCOMES, *LATENCIES)}, "depth": {"t": []}}
    found = site.kept(key, lambda: site.if_there(lambda: _series(site, span, queue, task), nothing), max(DRAWN, span.keep))
    first = found["t"][0] if found["t"] else 0
    return {**found, "deploys": [(each.at, each.version) for each in site.deploys() if each.at >= first]}


def embedded(found: dict[str, Any]) -> Markup:
    """The same within a page, for the charts' script: JSON in which no text can end the element that it stands in."""
    return Markup(msgspec.json.encode(found).decode().replace("<", "\\u003c"))


def _series(site: Site, span: Range, queue: str, task: str) -> dict[str, Any]:
    now = SYSTEM.now()
    width = span.grain.width
    step = max(1.0, span.length / POINTS // width) * width
    first = (now - span.length) // step * step
    count = int((now - WRITTEN - first) // step) + (step > WHOLE)
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
        if count:  # the last point may be unfinished: it must not look like a fall
            passed = min(step, max(WRITTEN, now - first - (count - 1) * step))
            found[outcome][-1] = round(getattr(tallies[-1], outcome) / passed, 4)
    for what in LATENCIES:
        points = [quantiles(getattr(tally, what), QUANTILES) for tally in tallies]
        found[what] = [list(line) for line in zip(*points, strict=True)] or [[] for _ in QUANTILES]
    found["depth"] = _depth(site, span, first, queue) if not task else {"t": []}
    return found


def _depth(site: Site, span: Range, first: float, queue: str) -> dict[str, Any]:
    taken = depth.samples(site.broker.kv, span.grain, first, queue)
    every = max(1, len(taken) // POINTS)
    kept = taken[::every]
    columns = {state.value: [row[place] for _, row in kept] for place, state in enumerate(depth.SHOWN)}
    return {"t": [at for at, _ in kept], **columns}


def latencies(tally: Tally) -> dict[str, Any]:
    """For a page: the quantiles of each kind of latency, by its name."""
    return {what: quantiles(getattr(tally, what), QUANTILES) for what in LATENCIES}


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
