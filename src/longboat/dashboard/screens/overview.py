"""The first screen: throughput, wait and run times, jobs in the queues, failures."""

from __future__ import annotations

from longboat.dashboard import charts
from longboat.dashboard.ask import Ask, Page
from longboat.dashboard.ranges import chosen, ranges
from longboat.dashboard.screens.queues import fullest, rows
from longboat.dashboard.site import Site

SHOWN = 8
"""Queues and failure groups that are shown."""


def screen(site: Site, ask: Ask) -> Page:
    span = chosen(ask)
    names = fullest(site, span)
    total = site.tally(span=span)
    series = charts.series(site, span)
    return Page(
        "overview.html",
        {
            **ranges(ask),
            **charts.latencies(total),
            "states": site.by_state(),
            "total": total,
            "rate": site.pace().ended,
            "workers": site.workers(),
            "queues": rows(site, names[:SHOWN], span),
            "more_queues": max(0, len(names) - SHOWN),
            "groups": site.failures()[:SHOWN],
            "series": charts.embedded(series),
            "line": charts.line(series["succeeded"], 600, 150),
        },
    )
