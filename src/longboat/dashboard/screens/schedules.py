"""Schedules: the rule in English, when it is due next, what became of the last job; run now, pause."""

from __future__ import annotations

from typing import Any

from longboat.core.clock import SYSTEM
from longboat.dashboard.ask import Ask, Page
from longboat.dashboard.plain import one_line
from longboat.dashboard.site import Site
from longboat.errors import LongboatError
from longboat.operate import scheduler
from longboat.tasks.schedule import Schedule

NEXT = 5


def screen(site: Site, ask: Ask) -> Page:  # noqa: ARG001
    kv = site.broker.kv
    found = site.listed(lambda: scheduler.schedules(kv))
    fired = scheduler.last_fired(kv, [schedule.name for schedule in found])
    last = [fired[each.name].last if each.name in fired else "" for each in found]
    views = dict(zip(last, site.broker.inspector.find(last), strict=True)) if found else {}
    rows: list[dict[str, Any]] = []
    for schedule, job_id in zip(found, last, strict=True):
        rule, due = rule_and_due(schedule)
        view = views.get(job_id) if job_id else None
        args = one_line(schedule.payload)
        rows.append({"schedule": schedule, "rule": rule, "due": due, "last": job_id, "view": view, "args": args})
    return Page("schedules.html", {"rows": rows})


def rule_and_due(schedule: Schedule) -> tuple[str, list[float]]:
    """The rule in English and when it is due next; for an invalid one, what is wrong with it and no times."""
    try:
        return schedule.explain(), schedule.next(SYSTEM.now(), NEXT)
    except (LongboatError, ValueError, LookupError) as error:  # stored by another version, or by hand
        return str(error), []
