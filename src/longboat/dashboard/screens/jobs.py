"""The list of jobs: states beside it, the search above it, bookmarkable; also as CSV."""

from __future__ import annotations

import csv
import io
from typing import Any

import msgspec

from longboat.dashboard.ask import Ask, Data, Page
from longboat.dashboard.plain import masked_text, one_line
from longboat.dashboard.site import Site
from longboat.dashboard.words import moment
from longboat.errors import ConfigError
from longboat.job import JobView, State
from longboat.search import ORDER, Found, Query, parse, search, written

LIMIT = 50
IN_CSV = 10_000


class Row(msgspec.Struct):
    """A job as a line of a list."""

    job: JobView
    args: str
    error: str


def row(job: JobView) -> Row:
    last = job.failures[-1] if job.failures else None
    return Row(job, one_line(job.payload), masked_text(f"{last.type}: {last.message}")[:300] if last else "")


def screen(site: Site, ask: Ask) -> Page:
    text, after, wrong = ask.query.get("q", "").strip(), ask.query.get("after") or None, ""
    query, found = Query(), Found([], None, 0)
    try:
        query = parse(text)
        found = search(site.broker, query, after=after, limit=LIMIT)
    except ConfigError as error:
        wrong = str(error).removeprefix("search: ")
    return Page(
        "jobs.html",
        {
            "q": text,
            "query": query,
            "wrong": wrong,
            "rows": [row(job) for job in found.jobs],
            "found": found,
            "after": after,
            "states": _states(site, query),
            "suggestions": suggestions(site),
        },
    )


def _states(site: Site, query: Query) -> list[dict[str, Any]]:
    """The sidebar: each state with its count (of the query's queue) and the search that has it alone."""
    counts = site.by_state(query.queue)
    found: list[dict[str, Any]] = []
    for state in ORDER:
        alone = written(msgspec.structs.replace(query, states=(state,), ids=()))
        found.append({"state": state, "count": counts[state], "q": alone, "chosen": query.states == (state,)})
    everything = written(msgspec.structs.replace(query, states=()))
    total = sum(counts.values())
    return [{"state": "all", "count": total, "q": everything, "chosen": not query.states}, *found]


def suggestions(site: Site) -> list[str]:
    """What there is to look for."""
    return [
        *(f"state:{state}" for state in State),
        *(f"queue:{name}" for name in site.queues()[:100]),
        *(f"task:{name}" for name in site.tasks()[:200]),
        *dict.fromkeys(f"error:{group.type.rpartition('.')[2]}" for group in site.failures()[:50]),
    ]


def as_csv(site: Site, ask: Ask) -> Data:
    query, after, jobs = parse(ask.query.get("q", "")), None, list[JobView]()
    while len(jobs) < IN_CSV:
        found = search(site.broker, query, after=after, limit=500)
        jobs += found.jobs
        after = found.after
        if after is None:
            break
    text = io.StringIO()
    lines = csv.writer(text)
    lines.writerow(["id", "state", "queue", "task", "priority", "attempts", "enqueued", "started", "ended", "args", "error"])
    for each in map(row, jobs[:IN_CSV]):
        job = each.job
        times = [moment(at) for at in (job.enqueued, job.started, job.ended)]
        cells = [job.id, job.state.value, job.queue, job.task, job.priority, job.attempts, *times, each.args, each.error]
        lines.writerow([_harmless(cell) for cell in cells])
    return Data(text.getvalue().encode(), "text/csv; charset=utf-8", file="jobs.csv")


def _harmless(cell: object) -> object:
    """Spreadsheets take what begins like this for a formula."""
    return f"'{cell}" if isinstance(cell, str) and cell[:1] in ("=", "+", "-", "@", "\t", "\r") else cell
