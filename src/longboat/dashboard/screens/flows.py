"""Flows: the newest with their progress, and one as a graph."""

from __future__ import annotations

from collections import Counter
from typing import Any

from longboat.client import flows
from longboat.core.job import State
from longboat.dashboard.ask import Ask, Page
from longboat.dashboard.graph import HEIGHT, WIDTH, graph
from longboat.dashboard.site import Site
from longboat.operate.search import ORDER

NEWEST = 30
DRAWN = 5000
"""Jobs of one flow that its graph shows, at most."""
LISTED = 200


def screen(site: Site, ask: Ask) -> Page:
    return Page("flows.html", {"flows": site.kept("flows", lambda: site.listed(lambda: _newest(site)), 0.9)})


def _newest(site: Site) -> list[dict[str, Any]]:
    found = []
    for flow_id, plan in flows.newest(site.broker.kv, NEWEST):
        status = flows.status(site.broker, flow_id)
        found.append({"id": flow_id, "plan": plan, "status": status, "parts": parts(status.jobs, status.unknown)})
    return found


def parts(jobs: dict[State, int], unknown: int = 0) -> list[dict[str, Any]]:
    """The parts of a bar: the states of the jobs, finished ones first. Nothing is drawn of those that are not known."""
    total = sum(jobs.values()) + unknown or 1
    x, found = 0.0, []
    for state in reversed(ORDER):
        if count := jobs.get(state, 0):
            width = 100 * count / total
            found.append({"state": state, "count": count, "x": round(x, 2), "width": round(width, 2)})
            x += width
    return found


def one(site: Site, ask: Ask) -> Page:
    flow_id = ask.place["id"]
    plan = flows.plan(site.broker.kv, flow_id)
    jobs: list[flows.Seen] = []
    for some in flows.seen(site.broker, flow_id):
        jobs += some
        if len(jobs) >= DRAWN:
            break
    counts = Counter(each.state for each in jobs)
    unknown = counts.pop(None, 0)
    states = {state: count for state, count in counts.items() if state is not None}
    bar = parts(states, unknown)
    context = {"id": flow_id, "plan": plan, "graph": graph(jobs), "box": (WIDTH, HEIGHT), "parts": bar, "unknown": unknown}
    left = unknown > 0 or any(not state.ended for state in states)
    more = max(0, len(jobs) - LISTED)
    return Page("flow.html", {**context, "jobs": jobs[:LISTED], "more": more, "states": states, "left": left}, live=left)
