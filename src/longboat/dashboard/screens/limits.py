"""Limits: by each key, how many jobs run, wait and have started, and which jobs hold it."""

from __future__ import annotations

from longboat.dashboard.ask import Ask, Page
from longboat.dashboard.paging import part
from longboat.dashboard.plain import masked_text
from longboat.dashboard.site import Site
from longboat.operate.limit_list import Limits, limits

KEPT = 2.0
"""Seconds for which a list is reused."""


def screen(site: Site, ask: Ask) -> Page:
    nothing: Limits | None = None
    found = site.kept("limits", lambda: site.if_there(lambda: limits(site.broker), nothing), KEPT)
    by_key = {each.limit.key: each for each in found.keys} if found else {}
    names = part(ask, list(by_key))
    return Page(
        "limits.html", {"found": found, "rows": [(masked_text(name), by_key[name]) for name in names.names], "part": names}
    )
