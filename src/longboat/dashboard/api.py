"""The JSON API, version 1: what the screens show and do, for programs. The OpenAPI document describes it."""

from __future__ import annotations

from math import ceil
from typing import Any

import msgspec

from longboat.client import flows
from longboat.contract.capabilities import Capability
from longboat.core.clock import SYSTEM
from longboat.core.job import State
from longboat.core.views import JobView
from longboat.dashboard import bulk, charts, openapi
from longboat.dashboard.ask import Answer, Ask, Data, Page, Refused, Screen, as_json
from longboat.dashboard.openapi import Read
from longboat.dashboard.paging import part
from longboat.dashboard.plain import asked, decoded, masked, masked_text
from longboat.dashboard.ranges import FIRST, RANGES, Range
from longboat.dashboard.screens import attention, calendar, do, failures, job, queues, workers
from longboat.dashboard.site import Site
from longboat.dashboard.verbs import VERBS
from longboat.observe import metrics
from longboat.observe.sketch import mean
from longboat.operate import audit, failing, scheduler
from longboat.operate.bulk import by_rule
from longboat.operate.job_data import job_data
from longboat.operate.search import search

MOST = 500
"""Jobs of one answer."""
DRAIN = 60.0
"""Seconds within which the ready jobs should be done, which says how many workers are wanted."""


def job_list(site: Site, ask: Ask) -> Data:
    limit, query = _limit(ask), asked(ask.query.get("q", ""))
    found = search(site.searched, query, after=ask.query.get("after") or None, limit=limit)
    return as_json(
        {
            "jobs": [plain(each) for each in found.jobs],
            "after": found.after,
            "searched": found.looked,
            "unlisted": found.unlisted,
            "ran": [query.since, query.until] if query.timed else None,
        }
    )


def one_job(site: Site, ask: Ask) -> Data:
    job_id = ask.place["id"]
    view = site.found(job_id)
    if view is None:
        raise Refused(404, *site.not_found(job_id))
    progress = site.if_there(lambda: job.progress(site, job_id), None)
    more = {
        "why": job.why_not(site, job_id) if site.can(Capability.LOOKUP) or not view.state.ended else "",
        "progress": None if progress is None else msgspec.structs.asdict(progress),
        "logs": [msgspec.structs.asdict(line) for line in site.listed(lambda: job.logs(site, job_id))],
        "acts": [msgspec.structs.asdict(each) for each in site.listed(lambda: audit.of_job(site.broker.kv, job_id))],
    }
    return as_json({**plain(view), **more})


def plain(view: JobView) -> dict[str, Any]:
    """A job as plain data, its secrets masked."""
    return job_data(view, decoded, masked)


def queue_list(site: Site, ask: Ask) -> Data:
    names = part(ask, queues.fullest(site, _range(ask)), _limit(ask, MOST)).names
    return as_json([_queue(row) for row in queues.rows(site, names, _range(ask))])


def one_queue(site: Site, ask: Ask) -> Data:
    name, span = ask.place["id"], _range(ask)
    if name not in site.queues(span):
        raise Refused(404, f"There is no queue {name!r}.", "It has no jobs, and no worker names it.")
    row = queues.rows(site, [name], span)[0]
    now = queues.now(site, row)
    return as_json({**_queue(row), "why": now.why, "workers": now.workers})


def _queue(row: queues.QueueRow) -> dict[str, Any]:
    return {
        "name": row.name,
        **{state.value: row.counts[state] for state in State},
        "paused": row.paused,
        "served": row.served,
        "oldest": row.since,
        "rate": row.rate,
        "wait_p95": row.p95,
        **row.drain.data(),
    }


def worker_list(site: Site, ask: Ask) -> Data:
    return as_json([msgspec.structs.asdict(record) for record in site.workers()])


def one_worker(site: Site, ask: Ask) -> Data:
    return as_json(workers.data(site, ask.place["name"]))


def failure_list(site: Site, ask: Ask) -> Data:
    found, deploy = failures.asked_for(site, ask)
    newest = deploy or next(iter(site.deploys()), None)
    groups = [failing.data(each.group, newest) for each in found]
    return as_json([{**group, "message": masked_text(group["message"])} for group in groups])


def deploy_list(site: Site, ask: Ask) -> Data:
    return as_json([msgspec.structs.asdict(each) for each in site.deploys()])


def schedule_list(site: Site, ask: Ask) -> Data:
    found = scheduler.listed(site.broker, SYSTEM.now())
    return as_json([each.data(decoded(each.schedule.payload)[0] if each.schedule else None) for each in found])


def attention_list(site: Site, ask: Ask) -> Data:
    return as_json(msgspec.structs.asdict(attention.seen(site)))


def calendar_list(site: Site, ask: Ask) -> Data:
    return as_json(msgspec.structs.asdict(calendar.seen(site)))


def flow_list(site: Site, ask: Ask) -> Data:
    found = []
    for flow_id, plan in flows.newest(site.broker.kv, min(100, _limit(ask))):
        status = flows.status(site.broker, flow_id)
        jobs = {state.value: count for state, count in status.jobs.items()}
        told = {"jobs": jobs, "unknown": status.unknown, "failed": status.failed}
        found.append({"id": flow_id, "name": plan.name, "started": plan.begun, **told})
    return as_json(found)


def history(site: Site, ask: Ask) -> Data:
    return as_json(charts.series(site, _range(ask), ask.query.get("queue", ""), ask.query.get("task", "")))


def scaling(site: Site, ask: Ask) -> Data:
    """For an autoscaler: how many jobs are ready or running in these queues, what serves them, what would be needed."""
    names = {name for each in (*ask.many("queue"), ask.query.get("queues", "")) for name in each.split(",") if name}
    counts = site.counts()
    records = [record for record in site.workers() if not names or not record.queues or names & set(record.queues)]
    ready, running = counts.total(State.READY, names) or 0, counts.total(State.RUNNING, names)
    slots = sum(max(record.slots.values(), default=0) for record in records)
    jobs = wanted = None
    if running is not None:
        jobs = ready + running
        wanted = _wanted(ready, running, slots / len(records) if records else 0.0, mean(site.tally(names).run))
    numbers = {"ready": ready, "running": running, "jobs": jobs, "workers": len(records), "slots": slots}
    return as_json({**numbers, "wanted": wanted})


def _wanted(ready: int, running: int, slots: float, took: float | None) -> int:
    """Workers with so many slots that would finish the ready jobs within DRAIN, if jobs take as long as recent ones.

    While no worker reports its slots: one, if there is anything to do.
    """
    if not slots:
        return min(1, ready + running)
    share = 1.0 if took is None else min(1.0, took / DRAIN)
    return ceil((running + ready * share) / slots)


def metrics_page(site: Site, ask: Ask) -> Data:
    """For Prometheus: what each worker would report of the broker, and the history of all workers."""

    def look() -> bytes:
        page = metrics.Page()
        site.if_there(lambda: metrics.add_queues(page, site.broker, SYSTEM.now()), None)
        metrics.add_recent(page, site.lately())
        return page.text().encode()

    return Data(site.kept("metrics", look), metrics.CONTENT_TYPE)


def audit_list(site: Site, ask: Ask) -> Data:
    before, text = ask.query.get("after"), ask.query.get("q", "")
    found = site.listed(lambda: audit.newest(site.broker.kv, _limit(ask), before=before, text=text))
    return as_json([msgspec.structs.asdict(each) for each in found])


def pause_list(site: Site, ask: Ask) -> Data:
    return as_json({kind: sorted(names) for kind, names in site.paused().items()})


def bulk_run(site: Site, ask: Ask) -> Data:
    run = bulk.get(site.broker.kv, ask.place["id"])
    if run is None:
        raise Refused(404, "There is no such bulk action.")
    return as_json(msgspec.structs.asdict(run))


def dry_run(site: Site, ask: Ask) -> Data:
    verb = ask.field("verb", "retry")
    query = bulk.meant(verb, ask.field("q"))
    dry = bulk.Dry(None, False) if by_rule(site.broker, verb, query) else bulk.dry_run(site.searched, query)
    return as_json(msgspec.structs.asdict(dry))


def act(site: Site, ask: Ask) -> Data:
    outcome = do.done(site, ask, ask.place["verb"])
    return as_json({"message": outcome.message, "done": outcome.done, "id": outcome.id or None})


def document(site: Site, ask: Ask) -> Data:
    return as_json(openapi.document(ask.root, READS, VERBS))


def page(site: Site, ask: Ask) -> Answer:
    return Page("api.html", {"document": openapi.document(ask.root, READS, VERBS)}, live=False)


def _range(ask: Ask) -> Range:
    name = ask.query.get("range", FIRST.name)
    if name not in RANGES:
        raise Refused(400, f"range: {name!r} is not one of {', '.join(RANGES)}.")
    return RANGES[name]


def _limit(ask: Ask, usual: int = 50) -> int:
    try:
        return min(MOST, max(1, int(ask.query.get("limit", usual))))
    except ValueError:
        raise Refused(400, "limit: not a whole number.") from None


_Q = ("q", "A search, as on the page of jobs: `state:dead queue:mail at:03:12Z args.user.id:42`.")
_LIMIT = ("limit", "At most this many.")
_AFTER = ("after", "Continue where the previous answer ended.")
_PAGED = [
    ("q", "Part of the name, or a pattern with * and ?."),
    ("limit", f"At most this many ({MOST})."),
    ("page", "From 1."),
]
_HISTORY = [("range", "15m, 2h, 24h, 7d or 90d."), ("queue", "Only this queue."), ("task", "Only this task.")]
_SCALING = [("queue", "Only this queue; may be repeated."), ("queues", "Only these: a,b.")]
_FAILURES = [
    ("q", "`task:`, `error:` or part of the task, the type or the message."),
    ("since_deploy", "Those that failed since this version went live, or `newest`: `since_deploy` counts them."),
    ("new", "1: only those that failed for the first time since then."),
    ("sort", "last, count or first."),
]

READS = [
    Read("/jobs", job_list, "Jobs that a search finds, state by state.", [_Q, _LIMIT, _AFTER]),
    Read("/jobs/{id:path}", one_job, "A job: arguments, result, failures, logs, progress, and why it is not running."),
    Read("/queues", queue_list, "Queues with their counts by state, rates, and how long until each is empty.", _PAGED),
    Read("/queues/{id:path}", one_queue, "A queue, and why it is slow: in one sentence."),
    Read("/attention", attention_list, "What is stuck or stands still, and what is not known."),
    Read("/calendar", calendar_list, "What runs in the next hour: scheduled jobs, and ticks of schedules."),
    Read("/workers", worker_list, "The living workers, with what they run."),
    Read(
        "/workers/{name:path}",
        one_worker,
        "A worker: its jobs with arguments, progress and, once they were asked for, stacks.",
    ),
    Read("/failures", failure_list, "Groups of similar failures; `count` is of all time.", _FAILURES),
    Read("/deploys", deploy_list, "Marks of which version went live when, newest first."),
    Read("/schedules", schedule_list, "Schedules, with when each is due next."),
    Read("/flows", flow_list, "The newest flows, with their jobs by state.", [_LIMIT]),
    Read(
        "/history",
        history,
        "By time: attempts ended per second, by outcome; quantiles (0.5, 0.95, 0.99) of wait and run times, in seconds.",
        _HISTORY,
    ),
    Read("/scaling", scaling, "For an autoscaler: jobs ready and running, workers and slots, and workers wanted.", _SCALING),
    Read("/pauses", pause_list, "What is paused: names of queues and tasks, keys of limits, searches."),
    Read(
        "/audit",
        audit_list,
        "Who changed what, newest first. The id of the last one continues the list.",
        [("q", "Only those in which this text occurs."), _LIMIT, _AFTER],
    ),
    Read("/bulk", dry_run, "How many jobs a bulk action would find.", [("verb", f"{', '.join(bulk.VERBS)}."), _Q]),
    Read("/bulk/{id}", bulk_run, "The progress of a bulk action."),
]
SCREENS: list[tuple[str, str, Screen]] = [
    ("GET", "/metrics", metrics_page),
    ("GET", "/api", page),
    ("GET", "/api/v1/openapi.json", document),
    *(("GET", f"/api/v1{read.path}", read.screen) for read in READS),
    ("POST", "/api/v1/do/{verb}", act),
]
