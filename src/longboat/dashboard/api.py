"""The JSON API, version 1: what the screens show and do, for programs; described by the OpenAPI document beside it."""

from __future__ import annotations

from math import ceil
from typing import Any

import msgspec

from longboat.client import flows
from longboat.core.clock import SYSTEM
from longboat.core.job import State
from longboat.core.views import JobView
from longboat.dashboard import bulk, charts, openapi
from longboat.dashboard.ask import Answer, Ask, Data, Page, Refused, Screen, as_json
from longboat.dashboard.plain import asked, decoded, masked, masked_text
from longboat.dashboard.screens import do, job, queues, schedules
from longboat.dashboard.site import Site
from longboat.dashboard.verbs import VERBS
from longboat.observe import metrics
from longboat.observe.history import Tally
from longboat.observe.metrics import mean
from longboat.operate import scheduler
from longboat.operate.explain import explain
from longboat.operate.search import search

MOST = 500
"""Jobs of one answer."""
DRAIN = 60.0
"""Seconds in which the ready jobs should be done: how many workers are wanted follows from it."""


def job_list(site: Site, ask: Ask) -> Data:
    limit = _limit(ask)
    found = search(site.broker, asked(ask.query.get("q", "")), after=ask.query.get("after") or None, limit=limit)
    return as_json({"jobs": [plain(each) for each in found.jobs], "after": found.after, "looked_at": found.looked})


def one_job(site: Site, ask: Ask) -> Data:
    job_id = ask.place["id"]
    view = site.broker.inspector.find([job_id])[0]
    if view is None:
        raise Refused(404, f"There is no job {job_id!r}.")
    progress = site.if_there(lambda: job.progress(site, job_id), None)
    more = {
        "why": masked_text(explain(site.broker, job_id) or ""),
        "progress": None if progress is None else msgspec.structs.asdict(progress),
        "logs": [msgspec.structs.asdict(line) for line in site.listed(lambda: job.logs(site, job_id))],
    }
    return as_json({**plain(view), **more})


def plain(view: JobView) -> dict[str, Any]:
    """A job as JSON can carry it, its secrets masked."""
    found: dict[str, Any] = {
        name: getattr(view, name)
        for name in view.__struct_fields__
        if name not in ("payload", "result", "failures", "constraints")
    }
    found["args"], wrong = decoded(view.payload)
    if wrong:
        found["undecodable"] = wrong
    found["headers"] = masked(view.headers)
    found["result"] = None if view.result is None else decoded(view.result)[0]
    found["constraints"] = (
        None if view.constraints is None else msgspec.to_builtins(msgspec.structs.asdict(view.constraints))
    )
    found["failures"] = [
        {
            **msgspec.structs.asdict(failure),
            "message": masked_text(failure.message),
            "traceback": masked_text(failure.traceback),
        }
        for failure in view.failures
    ]
    return found


def queue_list(site: Site, ask: Ask) -> Data:  # noqa: ARG001
    return as_json(
        [
            {
                "name": row.name,
                **{state.value: row.counts[state] for state in State},
                "paused": row.paused,
                "served": row.served,
                "oldest": row.since,
                "rate": row.rate,
                "wait_p95": row.p95,
            }
            for row in queues.rows(site)
        ]
    )


def worker_list(site: Site, ask: Ask) -> Data:  # noqa: ARG001
    return as_json([msgspec.structs.asdict(record) for record in site.workers()])


def failure_list(site: Site, ask: Ask) -> Data:  # noqa: ARG001
    groups = [msgspec.structs.asdict(group) for group in site.failures()]
    return as_json([{**group, "message": masked_text(group["message"])} for group in groups])


def schedule_list(site: Site, ask: Ask) -> Data:  # noqa: ARG001
    kv = site.broker.kv
    found = []
    for schedule in scheduler.schedules(kv):
        each = msgspec.structs.asdict(schedule)
        del each["payload"]
        due = schedules.told(schedule)[1]
        args = decoded(schedule.payload)[0]
        found.append({**each, "args": args, "next": due[0] if due and not schedule.paused else None})
    return as_json(found)


def flow_list(site: Site, ask: Ask) -> Data:
    found = []
    for flow_id, plan in flows.newest(site.broker.kv, min(100, _limit(ask))):
        status = flows.status(site.broker, flow_id)
        jobs = {state.value: count for state, count in status.jobs.items()}
        found.append({"id": flow_id, "name": plan.name, "begun": plan.begun, "jobs": jobs, "failed": status.failed})
    return as_json(found)


def history(site: Site, ask: Ask) -> Data:
    name = ask.query.get("range", charts.FIRST)
    if name not in charts.RANGES:
        raise Refused(400, f"range: {name!r} is not one of {', '.join(charts.RANGES)}.")
    return as_json(charts.series(site, name, ask.query.get("queue", ""), ask.query.get("task", "")))


def scaling(site: Site, ask: Ask) -> Data:
    """What an autoscaler asks: how many jobs wait or run in these queues, what serves them, and what it would take."""
    names = {name for each in (*ask.many("queue"), ask.query.get("queues", "")) for name in each.split(",") if name}
    counts = site.counts()

    def total(state: State) -> int:
        return sum(count for (queue, its), count in counts.items() if its is state and (not names or queue in names))

    records = [record for record in site.workers() if not names or not record.queues or names & set(record.queues)]
    ready, running = total(State.READY), total(State.RUNNING)
    slots = sum(max(record.slots.values(), default=0) for record in records)
    return as_json(
        {
            "ready": ready,
            "running": running,
            "jobs": ready + running,
            "workers": len(records),
            "slots": slots,
            "wanted": _wanted(ready, running, slots / len(records) if records else 0.0, _run_time(site, names)),
        }
    )


def _wanted(ready: int, running: int, slots: float, took: float | None) -> int:
    """Workers of so many slots that would have done the ready jobs within DRAIN, if jobs take as long as they took.

    While no worker tells its slots: one, if there is anything to do.
    """
    if not slots:
        return min(1, ready + running)
    share = 1.0 if took is None else min(1.0, took / DRAIN)
    return ceil((running + ready * share) / slots)


def _run_time(site: Site, queues: set[str]) -> float | None:
    """About what an attempt in these queues took lately, in seconds."""
    lately = Tally()
    for (queue, _), tally in site.lately().items():
        if not queues or queue in queues:
            lately.add(tally)
    return mean(lately.run)


def metrics_page(site: Site, ask: Ask) -> Data:  # noqa: ARG001
    """For Prometheus: what each worker would say of the broker, and what the history says of all workers."""

    def look() -> bytes:
        page = metrics.Page()
        site.if_there(lambda: metrics.add_queues(page, site.broker, SYSTEM.now()), None)
        metrics.add_recent(page, site.lately())
        return page.text().encode()

    return Data(site.kept("metrics", look), metrics.CONTENT_TYPE)


def bulk_run(site: Site, ask: Ask) -> Data:
    run = bulk.get(site.broker.kv, ask.place["id"])
    if run is None:
        raise Refused(404, "There is no such bulk action.")
    return as_json(msgspec.structs.asdict(run))


def dry_run(site: Site, ask: Ask) -> Data:
    return as_json(msgspec.structs.asdict(bulk.dry_run(site.broker, bulk.meant(ask.field("verb", "retry"), ask.field("q")))))


def act(site: Site, ask: Ask) -> Data:
    outcome = do.done(site, ask, ask.place["verb"])
    return as_json({"said": outcome.said, "done": outcome.done, "id": outcome.id or None})


def document(site: Site, ask: Ask) -> Data:  # noqa: ARG001
    return as_json(openapi.document(ask.root, VERBS))


def page(site: Site, ask: Ask) -> Answer:  # noqa: ARG001
    return Page("api.html", {"document": openapi.document(ask.root, VERBS)}, live=False)


def _limit(ask: Ask) -> int:
    try:
        return min(MOST, max(1, int(ask.query.get("limit", "50"))))
    except ValueError:
        raise Refused(400, "limit: a whole number.") from None


SCREENS: list[tuple[str, str, Screen]] = [
    ("GET", "/metrics", metrics_page),
    ("GET", "/api", page),
    ("GET", "/api/v1/openapi.json", document),
    ("GET", "/api/v1/jobs", job_list),
    ("GET", "/api/v1/jobs/{id:path}", one_job),
    ("GET", "/api/v1/queues", queue_list),
    ("GET", "/api/v1/workers", worker_list),
    ("GET", "/api/v1/failures", failure_list),
    ("GET", "/api/v1/schedules", schedule_list),
    ("GET", "/api/v1/flows", flow_list),
    ("GET", "/api/v1/history", history),
    ("GET", "/api/v1/scaling", scaling),
    ("GET", "/api/v1/bulk", dry_run),
    ("GET", "/api/v1/bulk/{id}", bulk_run),
    ("POST", "/api/v1/do/{verb}", act),
]
