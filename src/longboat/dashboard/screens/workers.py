"""Workers: their slots, running jobs and for how long, memory, queues; and one with all that its jobs do."""

from __future__ import annotations

from typing import Any

import msgspec

from longboat.core import codec
from longboat.dashboard.ask import Ask, Page, Refused
from longboat.dashboard.plain import masked_text, one_line
from longboat.dashboard.site import Site
from longboat.observe.history import WorkerRecord
from longboat.operate.stacks import Stacks, latest
from longboat.tasks.handle import PROGRESS, Progress

GONE = "A worker is known as long as its heartbeat comes, and ten seconds longer."


class Doing(msgspec.Struct):
    """One job of a worker."""

    id: str
    task: str
    since: float
    args: str
    """As in a call; empty where the job cannot be looked up."""
    progress: Progress | None
    stack: str


def screen(site: Site, ask: Ask) -> Page:
    records = site.workers()
    known = {record.consumer for record in records}
    others = [each for each in site.consumers() if each.id not in known]
    return Page("workers.html", {"records": records, "others": others})


def named(site: Site, name: str) -> WorkerRecord:
    """Raises Refused if there is no such worker."""
    found = next((record for record in site.workers() if record.name == name), None)
    if found is None:
        raise Refused(404, f"There is no worker {name!r}.", GONE)
    return found


def doing(site: Site, record: WorkerRecord) -> tuple[list[Doing], Stacks | None]:
    """The jobs that it runs, the longest-running first, and when their stacks were told."""
    ids = [job_id for job_id, _, _ in record.running]
    stacks = latest(site.broker.kv, record.id)
    where = {each.id: masked_text(each.stack) for each in stacks.jobs} if stacks else {}
    progress = [codec.decoded(value, Progress) for value in site.broker.kv.read(PROGRESS, ids)]
    for each in progress:
        if each is not None:
            each.text = masked_text(each.text)
    found = zip(record.running, site.looked_up(ids), progress, strict=True)
    jobs = [
        Doing(job_id, task, since, one_line(view.payload) if view else "", its, where.get(job_id, ""))
        for (job_id, task, since), view, its in found
    ]
    return jobs, stacks


def one(site: Site, ask: Ask) -> Page:
    record = named(site, ask.place["name"])
    jobs, stacks = doing(site, record)
    return Page("worker.html", {"record": record, "jobs": jobs, "stacks": stacks})


def data(site: Site, name: str) -> dict[str, Any]:
    """For programs: its record, with all that is known of the jobs that it runs."""
    record = named(site, name)
    jobs, stacks = doing(site, record)
    return {**msgspec.structs.asdict(record), "running": jobs, "stacks_at": stacks.at if stacks else None}
