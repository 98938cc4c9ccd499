"""Calendar: what runs in the next hour."""

from __future__ import annotations

from longboat.dashboard.ask import Ask, Page
from longboat.dashboard.site import Site
from longboat.operate.calendar import Calendar, calendar

KEPT = 2.0
"""Seconds for which a list is reused."""


def screen(site: Site, ask: Ask) -> Page:
    return Page("calendar.html", {"found": seen(site)})


def seen(site: Site) -> Calendar:
    return site.kept("calendar", lambda: calendar(site.broker), KEPT)
