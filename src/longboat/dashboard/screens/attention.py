"""Attention: what is stuck or stands still, and where to look at it."""

from __future__ import annotations

from longboat.dashboard.ask import Ask, Page
from longboat.dashboard.plain import masked_text
from longboat.dashboard.site import Site
from longboat.operate.attention import Attention, attention

KEPT = 2.0
"""Seconds for which a list is reused."""


def screen(site: Site, ask: Ask) -> Page:
    return Page("attention.html", {"found": seen(site)})


def seen(site: Site) -> Attention:
    """What needs attention, with secrets masked."""

    def look() -> Attention:
        found = attention(site.broker)
        for item in found.items:
            item.what = masked_text(item.what)
        return found

    return site.kept("attention", look, KEPT)
