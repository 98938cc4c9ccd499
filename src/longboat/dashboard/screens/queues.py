"""Queues: the jobs in each, the age of the oldest, recent throughput; pause, resume, purge."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import msgspec

from longboat.contract.capabilities import Capability
from longboat.core.clock import SYSTEM
from longboat.core.job import State
from longboat.core.views import JobView
from longboat.dashboard import charts
from longboat.dashboard.ask import Ask, Page
from longboat.dashboard.paging import part
from longboat.dashboard.plain import masked_text
from longboat.dashboard.ranges import Range, chosen, ranges
from longboat.dashboard.site import Site
from longboat.dashboard.verbs import PURGED
from longboat.observe import history
from longboat.observe.drain import Drain, drain, over
from longboat.observe.sketch import quantile
from longboat.operate.why_slow import QueueNow, why_slow

TRENDS = 30
"""Points of a small line, at most. Each covers a whole number of time buckets."""
AGED = 50
"""Queues whose oldest job is looked up, which takes one call each."""


class QueueRow(msgspec.Struct):
    """A queue as a row."""

    name: str
    counts: dict[State, int | None]
    """None: not known."""
    paused: bool
    served: bool
    """Whether a living worker takes its jobs."""
    rate: float
    p95: float | None
    spark: str
    drain: Drain
    since: float | None = None
    """Since when the oldest job that is ready or held has been waiting."""


def fullest(site: Site, span: Range) -> list[str]:
    """The names of all queues that there were in this range, the fullest first."""
    counts = site.shown_counts()
    return sorted(
        site.queues(span), key=lambda name: -sum(counts.of(name, state) or 0 for state in (State.READY, State.RUNNING))
    )


def rows(site: Site, names: Sequence[str], span: Range) -> list[QueueRow]:
    """These queues in this range; of the first AGED, since when their oldest job waits."""
    counts, paused = site.shown_counts(), site.paused()["queue"]
    taken = [each.queues for each in site.consumers()] + [record.queues for record in site.workers()]
    lines: dict[str, str] = site.kept(
        f"sparks {span.name}", lambda: site.if_there(lambda: _lines(site, span), dict[str, str]()), max(5.0, span.keep)
    )
    drains = site.drains()
    found = []
    for name in names:
        tally = site.tally([name], span=span)
        by_state = {state: counts.of(name, state) for state in State}
        served = any(not queues or name in queues for queues in taken)
        rate, p95, spark = site.pace(name).ended, quantile(tally.wait, 0.95), lines.get(name, "")
        found.append(
            QueueRow(
                name,
                by_state,
                name in paused,
                served,
                rate,
                p95,
                spark,
                drains.get(name) or drain(counts, name, None, 0.0, 0.0),
            )
        )
    for row in found[:AGED]:
        if row.counts[State.READY] or row.counts[State.WAITING]:
            row.since = site.kept(f"oldest {row.name}", partial(oldest, site, row))
    return found


def oldest(site: Site, row: QueueRow) -> float | None:
    found: list[JobView] = []
    for state in (State.READY, State.WAITING):
        if row.counts[state]:
            found += site.listed(partial(_first, site, state, row.name))
    return min((since for job in found if (since := job.waits_since) is not None), default=None)


def _first(site: Site, state: State, queue: str) -> list[JobView]:
    return site.broker.inspector.jobs(state, queue=queue, limit=1).jobs


def _lines(site: Site, span: Range) -> dict[str, str]:
    """The throughput of each queue, as a small line. What is unfinished is left out: it would look like a fall."""
    width = math.ceil(span.length / (TRENDS * span.grain.width)) * span.grain.width
    count = round(span.length / width)
    first = (SYSTEM.now() - charts.WRITTEN) // width * width - count * width
    values: dict[str, list[float]] = {}
    for start, slice_ in history.slices(site.broker.kv, span.grain, first, first + count * width):
        for (queue, _), tally in slice_.items():
            values.setdefault(queue, [0.0] * count)[int((start - first) // width)] += tally.ended
    return {queue: charts.line(line) for queue, line in values.items()}


def screen(site: Site, ask: Ask) -> Page:
    found = part(ask, fullest(site, chosen(ask)))
    return Page("queues.html", {"queues": rows(site, found.names, chosen(ask)), "part": found, **ranges(ask)})


def one(site: Site, ask: Ask) -> Page:
    name, span = ask.place["name"], chosen(ask)
    found = rows(site, [name], span)[0] if name in site.queues(span) else None
    by_task = sorted(
        ((task, tally) for (queue, task), tally in site.lately(span).items() if queue == name),
        key=lambda each: -each[1].ended,
    )
    context: dict[str, Any] = {"name": name, "row": found, "by_task": by_task, "purged": purged(site)}
    if found is not None:
        context |= {"why": now(site, found).why, "since_then": site.if_there(partial(_in_range, site, name, span), None)}
    context["series"] = charts.embedded(charts.series(site, span, queue=name))
    latencies = charts.latencies(site.tally([name], span=span))
    return Page("queue.html", {**context, **latencies, **ranges(ask)})


def now(site: Site, row: QueueRow) -> QueueNow:
    """Why it is slow, for people."""

    def look() -> QueueNow:
        found = why_slow(site.broker, row.name, site.shown_counts(), row.drain)
        found.why = masked_text(found.why)
        return found

    return site.kept(f"why slow {row.name}", look, 1.0)


def _in_range(site: Site, name: str, span: Range) -> Drain | None:
    now = SYSTEM.now()
    counts, lately = site.shown_counts(), partial(site.lately, span)
    return over(site.broker.kv, counts, [name], span.grain, now - span.length, now, lately).get(name)


def purged(site: Site) -> Sequence[State]:
    """The states in which jobs can be purged here."""
    if site.can(Capability.PURGE):
        return PURGED
    return (State.READY, State.DEAD) if site.can(Capability.DEAD_JOBS) else ()
