"""The list of jobs, with states beside it and a search above it, bookmarkable; also as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from itertools import chain
from typing import Any

import msgspec

from longboat.core.clock import SYSTEM
from longboat.core.job import State
from longboat.core.views import JobView
from longboat.dashboard.ask import Ask, Page, Stream
from longboat.dashboard.plain import asked, masked_text, one_line
from longboat.dashboard.site import Site
from longboat.dashboard.words import moment
from longboat.errors import ConfigError, Unsupported
from longboat.operate.search import ORDER, Found, Query, misspelt, search, written
from longboat.operate.times import told

LIMIT = 50
IN_PART = 200
"""Jobs between two parts of a CSV file."""
WHOLE = 100_000
"""Jobs of a CSV file that is held in memory until it is complete, at most."""

FORMULAS = ("=", "+", "-", "@", "＝", "＋", "－", "＠", "|", "%")


class JobRow(msgspec.Struct):
    """A job as a line of a list."""

    job: JobView
    args: str
    error: str


def row(job: JobView) -> JobRow:
    last = job.failures[-1] if job.failures else None
    return JobRow(job, one_line(job.payload), masked_text(f"{last.type}: {last.message}")[:300] if last else "")


def screen(site: Site, ask: Ask) -> Page:
    text, after, wrong, cannot = ask.query.get("q", "").strip(), ask.query.get("after") or None, "", ""
    query, found = Query(), Found([], None, 0)
    try:
        query = asked(text)
        found = search(site.searched, query, after=after, limit=LIMIT)
        wrong = misspelt(query)
    except ConfigError as error:
        wrong = str(error).removeprefix("search: ")
    except Unsupported as error:
        cannot = str(error)
    return Page(
        "jobs.html",
        {
            "q": text,
            "query": query,
            "wrong": wrong,
            "cannot": cannot,
            "rows": [row(job) for job in found.jobs],
            "found": found,
            "after": after,
            "states": _states(site, query),
            "suggestions": suggestions(site),
            "ran": told(query.since, query.until),
        },
        live=query.until is None or query.until > SYSTEM.now(),
    )


def _states(site: Site, query: Query) -> list[dict[str, Any]]:
    """The sidebar: each state with its count (in the query's queue) and the search for that state alone."""
    counts = site.by_state(query.queue)
    found: list[dict[str, Any]] = []
    for state in ORDER:
        alone = written(msgspec.structs.replace(query, states=(state,), ids=()))
        found.append({"state": state, "count": counts[state], "q": alone, "chosen": query.states == (state,)})
    everything = written(msgspec.structs.replace(query, states=()))
    total = sum(filter(None, counts.values()))
    return [{"state": "all", "count": total, "q": everything, "chosen": not query.states}, *found]


def suggestions(site: Site) -> list[str]:
    """Suggestions for the words of a search."""
    return [
        *(f"state:{state}" for state in State),
        *(f"queue:{name}" for name in site.queues()[:100]),
        *(f"task:{name}" for name in site.tasks()[:200]),
        *dict.fromkeys(f"error:{group.type.rpartition('.')[2]}" for group in site.failures()[:50]),
    ]


def as_csv(site: Site, ask: Ask) -> Stream:
    """All jobs that the search finds, written while they are found."""
    parts = _csv(site, asked(ask.query.get("q", "")), WHOLE if ask.whole else None)
    first = next(parts)  # raises what the search raises
    return Stream(chain([first], parts), "text/csv; charset=utf-8", "jobs.csv")


def _csv(site: Site, query: Query, most: int | None) -> Iterator[bytes]:
    """Part by part. One that ends after `most` jobs says so in its last line."""
    after, count = None, 0
    text = io.StringIO()
    lines = csv.writer(text, quoting=csv.QUOTE_NONNUMERIC)
    lines.writerow(["id", "state", "queue", "task", "priority", "attempts", "enqueued", "started", "ended", "args", "error"])
    while True:
        found = search(site.searched, query, after=after, limit=IN_PART)
        for job in found.jobs:
            each = row(job)
            times = [moment(at) for at in (job.enqueued, job.started, job.ended)]
            cells = [job.id, job.state.value, job.queue, job.task, job.priority, job.begun, *times, each.args, each.error]
            lines.writerow([_harmless(cell) for cell in cells])
        count, after = count + len(found.jobs), found.after
        if full := most is not None and count >= most and after is not None:
            lines.writerow([f"These are the first {count:,} jobs, and there are more: see `longboat jobs --json --limit`."])
        yield text.getvalue().encode()
        if full or after is None:
            return
        text.seek(0)
        text.truncate()


def _harmless(cell: object) -> object:
    """Spreadsheets would read text that begins like this as a formula."""
    return f"'{cell}" if isinstance(cell, str) and cell.lstrip()[:1] in FORMULAS else cell
