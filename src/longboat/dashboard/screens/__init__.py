"""The screens: one file per menu entry, each a function from a request to what is shown."""

from __future__ import annotations

from longboat.dashboard import api
from longboat.dashboard.ask import Screen
from longboat.dashboard.screens import (
    attention,
    bulk,
    calendar,
    do,
    failures,
    flows,
    job,
    jobs,
    limits,
    overview,
    pauses,
    queues,
    schedules,
    system,
    tasks,
    workers,
)

SCREENS: list[tuple[str, str, Screen]] = [
    ("GET", "/", overview.screen),
    ("GET", "/attention", attention.screen),
    ("GET", "/queues", queues.screen),
    ("GET", "/queues/{name:path}", queues.one),
    ("GET", "/jobs", jobs.screen),
    ("GET", "/jobs.csv", jobs.as_csv),
    ("GET", "/jobs/{id:path}", job.screen),
    ("GET", "/failures", failures.screen),
    ("GET", "/failures/{fingerprint}", failures.one),
    ("GET", "/bulk", bulk.screen),
    ("GET", "/bulk/{id}", bulk.one),
    ("GET", "/flows", flows.screen),
    ("GET", "/flows/{id:path}", flows.one),
    ("GET", "/limits", limits.screen),
    ("GET", "/workers", workers.screen),
    ("GET", "/workers/{name:path}", workers.one),
    ("GET", "/schedules", schedules.screen),
    ("GET", "/calendar", calendar.screen),
    ("GET", "/tasks", tasks.screen),
    ("GET", "/tasks/{name:path}", tasks.one),
    ("GET", "/system", system.screen),
    ("GET", "/audit", system.audited),
    ("GET", "/pauses", pauses.screen),
    ("GET", "/do/{verb}", do.question),
    ("POST", "/do/{verb}", do.act),
    *api.SCREENS,
]
"""(method, path, screen), in the order in which paths are matched."""
