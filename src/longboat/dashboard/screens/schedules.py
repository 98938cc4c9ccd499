"""Schedules: the rule in English, when it is due next, what became of the last job; run now, pause."""

from __future__ import annotations

from typing import Any

from longboat.core.clock import SYSTEM
from longboat.dashboard.ask import Ask, Page
from longboat.dashboard.plain import one_line
from longboat.dashboard.site import Site
from longboat.operate import scheduler

NEXT = 5


def screen(site: Site, ask: Ask) -> Page:
    found = site.listed(lambda: scheduler.listed(site.broker, SYSTEM.now(), NEXT))
    last = [each.last for each in found]
    views = dict(zip(last, site.looked_up(last), strict=True)) if found else {}
    rows: list[dict[str, Any]] = []
    for each in found:
        args = one_line(each.schedule.payload) if each.schedule else ""
        rows.append({"listed": each, "view": views.get(each.last) if each.last else None, "args": args})
    return Page("schedules.html", {"rows": rows})
