"""The first screen: throughput, wait and run times, jobs in the queues, failures."""

from __future__ import annotations

from longboat.dashboard import charts
from longboat.dashboard.ask import Ask, Data, Page, as_json
from longboat.dashboard.screens.queues import fullest, rows
from longboat.dashboard.site import RECENT, Site
from longboat.observe.sketch import quantiles

SHOWN = 8
"""Queues and failure groups that are shown."""


def screen(site: Site, ask: Ask) -> Page:
    ranges, total, names = charts.ranges(ask), site.tally(), fullest(site)
    return Page(
        "overview.html",
        {
            **ranges,
            "states": site.by_state(),
            "total": total,
            "rate": total.ended / RECENT,
            "wait": quantiles(total.wait, charts.QUANTILES),
            "run": quantiles(total.run, charts.QUANTILES),
            "workers": site.workers(),
            "queues": rows(site, names[:SHOWN]),
            "more_queues": max(0, len(names) - SHOWN),
            "groups": site.failures()[:SHOWN],
            "line": charts.line(charts.series(site, ranges["chosen"].name)["succeeded"], 600, 150),
        },
    )


def series(site: Site, ask: Ask) -> Data:
    """The data for the charts' script."""
    name = ask.query.get("range", charts.FIRST)
    return as_json(charts.series(site, name, ask.query.get("queue", ""), ask.query.get("task", "")))
