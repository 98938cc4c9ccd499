"""Groups of similar failures: how many, since when, the latest; retry or delete all jobs of a group."""

from __future__ import annotations

from longboat.core.job import State
from longboat.dashboard import bulk
from longboat.dashboard.ask import Ask, Page, Refused
from longboat.dashboard.plain import masked_text
from longboat.dashboard.screens.jobs import row
from longboat.dashboard.site import Site
from longboat.operate.search import Query, search, written

SHOWN = 200
LISTED = 20


def screen(site: Site, ask: Ask) -> Page:
    groups = site.failures()
    return Page("failures.html", {"groups": groups[:SHOWN], "more": max(0, len(groups) - SHOWN), "clean": masked_text})


def one(site: Site, ask: Ask) -> Page:
    name = ask.place["fingerprint"]
    group = next((each for each in site.failures() if each.fingerprint == name), None)
    if group is None:
        raise Refused(404, "There is no such group of failures.", "Groups are kept for 30 days after their last failure.")
    query = Query((State.DEAD,), task=group.task, failure=name)
    latest = site.looked_up([group.job])[0]
    trace = next((each.traceback for each in reversed(latest.failures) if each.traceback), "") if latest else ""
    return Page(
        "failure.html",
        {
            "group": group,
            "message": masked_text(group.message),
            "dead": site.kept(f"dead {name}", lambda: bulk.dry_run(site.searched, query), 2.0),
            "rows": [row(job) for job in search(site.searched, query, limit=LISTED).jobs],
            "latest": latest,
            "traceback": masked_text(trace),
            "q": written(query),
        },
    )
