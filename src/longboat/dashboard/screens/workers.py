"""Workers: their slots, running jobs and for how long, memory, queues."""

from __future__ import annotations

from longboat.dashboard.ask import Ask, Page
from longboat.dashboard.site import Site


def screen(site: Site, ask: Ask) -> Page:
    records = site.workers()
    known = {record.consumer for record in records}
    others = [each for each in site.consumers() if each.id not in known]
    return Page("workers.html", {"records": records, "others": others})
