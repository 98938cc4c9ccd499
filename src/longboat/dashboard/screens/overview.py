"""The first screen: throughput, wait and run times, jobs in the queues, failures."""

from __future__ import annotations

from collections import Counter

from longboat.core.job import State
from longboat.dashboard import charts
from longboat.dashboard.ask import Ask, Data, Page, as_json
from longboat.dashboard.screens.queues import rows
from longboat.dashboard.site import RECENT, Site
from longboat.observe.history import Tally, WorkerRecord, quantile

SHOWN = 8
"""Queues and failure groups that are shown."""


def screen(site: Site, ask: Ask) -> Page:
    name = ask.query.get("range", charts.FIRST)
    chosen = charts.RANGES.get(name, charts.RANGES[charts.FIRST])
    total = Tally()
    for tally in site.lately().values():
        total.add(tally)
    states = site.by_state()
    records = site.workers()
    all_queues = rows(site, SHOWN)
    series = charts.series(site, chosen.name)
    return Page(
        "overview.html",
        {
            "ranges": charts.RANGES.values(),
            "chosen": chosen,
            "states": states,
            "backlog": sum(states[state] for state in (State.READY, State.SCHEDULED, State.WAITING)),
            "total": total,
            "rate": total.ended / RECENT,
            "wait": [quantile(total.wait, part) for part in charts.QUANTILES],
            "run": [quantile(total.run, part) for part in charts.QUANTILES],
            "workers": records,
            "busy": sum(len(record.running) for record in records),
            "slots": slots(records),
            "queues": all_queues[:SHOWN],
            "more_queues": max(0, len(all_queues) - SHOWN),
            "groups": site.failures()[:SHOWN],
            "lines": {outcome: charts.line(series[outcome], 600, 150) for outcome in ("succeeded", "dead")},
        },
    )


def slots(records: list[WorkerRecord]) -> Counter[str]:
    """All slots by executor."""
    found: Counter[str] = Counter()
    for record in records:
        found.update(record.slots)
    return found


def series(site: Site, ask: Ask) -> Data:
    """The data for the charts' script."""
    name = ask.query.get("range", charts.FIRST)
    return as_json(charts.series(site, name, ask.query.get("queue", ""), ask.query.get("task", "")))
