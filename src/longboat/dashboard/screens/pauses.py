"""Pauses: all that waits until somebody resumes it, whatever is paused."""

from __future__ import annotations

from longboat.dashboard.ask import Ask, Page
from longboat.dashboard.site import Site
from longboat.operate.pauses import KINDS


def screen(site: Site, ask: Ask) -> Page:
    found = site.paused()
    return Page("pauses.html", {"kinds": KINDS, "paused": [(kind, name) for kind in KINDS for name in sorted(found[kind])]})
