"""Tasks: how often each fails, how long it takes, and a form to enqueue a job."""

from __future__ import annotations

from longboat.dashboard import charts
from longboat.dashboard.ask import Ask, Page
from longboat.dashboard.calls import blanks
from longboat.dashboard.site import Site
from longboat.dashboard.words import percent
from longboat.observe.history import Tally, quantile
from longboat.observe.words import span


def screen(site: Site, ask: Ask) -> Page:  # noqa: ARG001
    paused = site.paused()["task"]
    rows = []
    for name in site.tasks():
        tally = _tally(site, name)
        quantiles = [quantile(tally.run, part) for part in charts.QUANTILES]
        failed = percent(tally.dead + tally.retried, tally.ended)
        rows.append({"name": name, "tally": tally, "run": quantiles, "failed": failed, "paused": name in paused})
    return Page("tasks.html", {"rows": rows})


def one(site: Site, ask: Ask) -> Page:
    name = ask.place["name"]
    tally = _tally(site, name)
    task = site.registry.get(name)
    chosen = charts.RANGES.get(ask.query.get("range", ""), charts.RANGES[charts.FIRST])
    return Page(
        "task.html",
        {
            "name": name,
            "tally": tally,
            "failed": percent(tally.dead + tally.retried, tally.ended),
            "run": charts.bars(tally.run, span),
            "wait": charts.bars(tally.wait, span),
            "quantiles": [quantile(tally.run, part) for part in charts.QUANTILES],
            "paused": name in site.paused()["task"],
            "task": task,
            "blanks": blanks(task) if task is not None else None,
            "about": (task.__doc__ or "").strip().partition("\n\n")[0] if task is not None else "",
            "groups": [group for group in site.failures() if group.task == name][:10],
            "queues": site.queues(),
            "workers": [record.name for record in site.workers() if name in record.tasks],
            "ranges": charts.RANGES.values(),
            "chosen": chosen,
        },
    )


def _tally(site: Site, name: str) -> Tally:
    total = Tally()
    for (_, task), tally in site.lately().items():
        if task == name:
            total.add(tally)
    return total
