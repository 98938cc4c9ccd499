"""Groups of similar failures: how many, since when, what is new since a deploy; retry or delete all jobs of a group."""

from __future__ import annotations

from longboat.core.clock import SYSTEM
from longboat.core.job import State
from longboat.dashboard import bulk, charts
from longboat.dashboard.ask import Ask, Page, Refused
from longboat.dashboard.plain import asked, masked_text
from longboat.dashboard.screens.jobs import row
from longboat.dashboard.site import Site
from longboat.errors import ConfigError
from longboat.observe.deploys import Deploy
from longboat.observe.history import FailureGroup
from longboat.observe.trend import points
from longboat.operate.failing import NEWEST, WORDS, Failing, chosen, failing
from longboat.operate.search import Query, restrict, search, written

SHOWN = 200
LISTED = 20
DEPLOYS = 5
"""The newest ones, between which a page chooses."""
DAY = 86400.0


def asked_for(site: Site, ask: Ask) -> tuple[list[Failing], Deploy | None]:
    """The groups that the query of a page or of the API asks for, and since which deploy. Raises ConfigError."""
    query = restrict(asked(ask.query.get("q", "").strip()), WORDS, "failures")
    deploy, new = chosen(site.deploys(), ask.query.get("since_deploy", "")), bool(ask.query.get("new"))
    if new and deploy is None:
        deploy = chosen(site.deploys(), NEWEST)
    sort = ask.query.get("sort") or ("count" if deploy else "last")
    return failing(site.failures(), query, deploy=deploy, new=new, sort=sort), deploy


def screen(site: Site, ask: Ask) -> Page:
    found, deploy, wrong = list[Failing](), None, ""
    try:
        found, deploy = asked_for(site, ask)
    except ConfigError as error:
        wrong = str(error).removeprefix("search: ")
    deploys = {each.version: each for each in reversed(site.deploys())}
    return Page(
        "failures.html",
        {
            "rows": [(each, line(each.group)) for each in found[:SHOWN]],
            "more": max(0, len(found) - SHOWN),
            "any": bool(site.failures()),
            "deploy": deploy,
            "deploys": sorted(deploys.values(), key=lambda each: -each.at)[:DEPLOYS],
            "wrong": wrong,
            "q": ask.query.get("q", ""),
            "new": bool(ask.query.get("new")),
            "sort": ask.query.get("sort") or ("count" if deploy else "last"),
            "clean": masked_text,
        },
    )


def line(group: FailureGroup) -> str:
    """How often in each hour of the last day, as the points of a polyline."""
    return charts.line(points(group.trend, SYSTEM.now() // 60 * 60 + 60, DAY, 24))


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
            "deploy": next(iter(site.deploys()), None),
            "line": line(group),
            "message": masked_text(group.message),
            "dead": site.kept(f"dead {name}", lambda: bulk.dry_run(site.searched, query), 2.0),
            "rows": [row(job) for job in search(site.searched, query, limit=LISTED).jobs],
            "latest": latest,
            "traceback": masked_text(trace),
            "q": written(query),
        },
    )
