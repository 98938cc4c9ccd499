"""Bulk actions: choose jobs, see how many match, run it, watch it, stop it."""

from __future__ import annotations

from typing import Any

from longboat.core.clock import seconds
from longboat.dashboard import bulk
from longboat.dashboard.ask import Ask, Page, Refused
from longboat.dashboard.screens.jobs import row, suggestions
from longboat.dashboard.site import Site
from longboat.errors import ConfigError, Unsupported
from longboat.operate.audit import BECAME
from longboat.operate.bulk import by_rule, check, said
from longboat.operate.search import search, written
from longboat.tasks.template import checked_name

LISTED = 10


def screen(site: Site, ask: Ask) -> Page:
    verb, q, to = ask.query.get("verb", ""), ask.query.get("q", ""), ask.query.get("to", "").strip()
    spread = ask.query.get("spread", "").strip() if verb == "retry" else ""
    context: dict[str, Any] = {"q": q, "query": "", "rule": "", "verb": verb, "to": to, "wrong": "", "dry": None, "rows": []}
    context["spread"] = spread
    if verb:
        try:
            query = bulk.meant(verb, q)
            if verb == "move":
                checked_name(to, "to queue")
            check(site.broker, verb, seconds(spread or 0, "spread"))
            if by_rule(site.broker, verb, query):
                context["rule"] = said(query)
            else:
                found = search(site.searched, query, limit=LISTED)
                rows = [row(job) for job in found.jobs[:LISTED]]
                context.update(dry=bulk.dry_run(site.searched, query), rows=rows, query=written(query))
        except (Refused, ConfigError, Unsupported) as error:
            context["wrong"] = str(error).removeprefix("search: ")
    runs = site.listed(lambda: bulk.newest(site.broker.kv))
    return Page("bulk.html", {**context, "verbs": bulk.VERBS, "runs": runs, "suggestions": suggestions(site)}, live=not verb)


def one(site: Site, ask: Ask) -> Page:
    run = bulk.get(site.broker.kv, ask.place["id"])
    if run is None:
        raise Refused(404, "There is no such bulk action.", "Bulk actions are kept for a week.")
    return Page("bulk_run.html", {"run": run, "became": BECAME.get(run.verb, "changed")}, live=not run.over)
