"""Tasks: how often each fails, how long it takes, and a form to enqueue a job."""

from __future__ import annotations

from longboat.dashboard import charts
from longboat.dashboard.ask import Ask, Page
from longboat.dashboard.calls import blanks
from longboat.dashboard.paging import part
from longboat.dashboard.ranges import chosen, ranges
from longboat.dashboard.site import Site
from longboat.dashboard.words import percent
from longboat.observe.sketch import merged, quantiles
from longboat.observe.words import span

SUGGESTED = 200
"""Queues that the form suggests."""


def screen(site: Site, ask: Ask) -> Page:
    paused = site.paused()["task"]
    rows, found = [], part(ask, site.tasks(chosen(ask)))
    for name in found.names:
        tally = site.tally(task=name, span=chosen(ask))
        failed = percent(tally.dead + tally.retried, tally.ended)
        rows.append(
            {
                "name": name,
                "tally": tally,
                "run": quantiles(tally.run, charts.QUANTILES),
                "failed": failed,
                "paused": name in paused,
            }
        )
    return Page("tasks.html", {"rows": rows, "part": found, **ranges(ask)})


def one(site: Site, ask: Ask) -> Page:
    name = ask.place["name"]
    tally = site.tally(task=name, span=chosen(ask))
    task = site.task(name)
    return Page(
        "task.html",
        {
            "name": name,
            "tally": tally,
            "failed": percent(tally.dead + tally.retried, tally.ended),
            "run_bars": charts.bars(tally.run, span),
            "wait_bars": charts.bars(merged(tally.wait, tally.limited, tally.parents), span),
            **charts.latencies(tally),
            "series": charts.embedded(charts.series(site, chosen(ask), task=name)),
            "paused": name in site.paused()["task"],
            "task": task,
            "known": site.knows(name),
            "blanks": blanks(task),
            "about": (task.__doc__ or "").strip().partition("\n\n")[0],
            "groups": [group for group in site.failures() if group.task == name][:10],
            "queues": site.queues()[:SUGGESTED],
            "workers": [record.name for record in site.workers() if name in record.tasks],
            **ranges(ask),
        },
    )
