"""System: the broker, what it does not support, the settings, and who changed what."""

from __future__ import annotations

import os
import platform
import re

from longboat import __version__
from longboat.client.kept import Summary
from longboat.contract.capabilities import lacking
from longboat.core.memory import resident
from longboat.dashboard.ask import Ask, Page
from longboat.dashboard.plain import MASK, masked_text
from longboat.dashboard.site import Site
from longboat.operate import audit

SHOWN = 100
"""Entries of the audit on one page."""
_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSW", re.IGNORECASE)


def screen(site: Site, ask: Ask) -> Page:
    broker = site.broker
    facts = [
        ("Broker", site.url),
        ("Adapter", type(broker).__name__),
        ("Limitations", "; ".join(each.sentence for each in lacking(broker)) or "none"),
        *((each.name.capitalize(), str(each)) if isinstance(each, Summary) else ("", each) for each in site.kept_jobs()),
        ("Longboat", __version__),
        ("Python", platform.python_version()),
        ("This process", f"{platform.node()}:{os.getpid()}"),
        ("App's code", "loaded" if site.registry.tasks else site.no_code or "not loaded: tasks are shown by name only"),
    ]
    settings = sorted((name, _shown(name, value)) for name, value in os.environ.items() if name.startswith("LONGBOAT_"))
    return Page("system.html", {"facts": facts, "settings": settings, "memory": resident()})


def audited(site: Site, ask: Ask) -> Page:
    """Who changed what."""
    q, after = ask.query.get("q", ""), ask.query.get("after") or None
    entries = site.listed(lambda: audit.newest(site.broker.kv, SHOWN, before=after, text=q))
    return Page("audit.html", {"q": q, "after": after, "entries": entries, "more": len(entries) == SHOWN}, live=not after)


def _shown(name: str, value: str) -> str:
    return MASK if _SECRET.search(name) else masked_text(value)
