"""What `longboat top` shows: one table for each of its views, made of what was looked up last."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from longboat.cli import show, workers
from longboat.core.job import State
from longboat.observe import history
from longboat.observe.words import span
from longboat.operate import pauses
from longboat.operate.search import Query, search

if TYPE_CHECKING:
    from longboat.contract.broker import Broker

STATES = ("ready", "scheduled", "waiting", "running", "dead")
LATENCIES = ("wait_p50", "wait_p95", "run_p50", "run_p95")
LISTED = 200
"""Jobs, at most."""


class Table(NamedTuple):
    """One of the tables on the screen."""

    title: str
    columns: tuple[str, ...]
    rows: list[list[str]]
    right: tuple[str, ...]
    drop: tuple[str, ...] = ()
    keys: Sequence[str] = ()
    """What each row is about: the name of a queue, the id of a job."""


def queues(found: dict[str, Any]) -> Table:
    paused = found.get("paused", {}).get("queue", ())
    rows = [
        [
            row["queue"],
            *(show.number(row[name]) for name in STATES),
            *(f"{row[f'{name}_per_second']:,.1f}" for name in ("done", "failed")),
            "paused" if row["queue"] in paused else "",
        ]
        for row in found["queues"]
    ]
    right = (*STATES, "done/s", "failed/s")
    names = [row["queue"] for row in found["queues"]]
    return Table("queues", ("queue", *right, "note"), rows, right, ("scheduled", "waiting", "failed/s", "done/s"), names)


def jobs(found: dict[str, Any]) -> Table:
    views = found.get("jobs", [])
    rows = [show.row(view) for view in views]
    return Table("jobs", show.COLUMNS, rows, show.RIGHT, show.DROP, [view.id for view in views])


def living(found: dict[str, Any]) -> Table:
    records = found["workers"]
    names = [record.name for record in records]
    rows = [workers.row(record) for record in records]
    return Table("workers", workers.COLUMNS, rows, workers.RIGHT, workers.DROP, names)


def failures(found: dict[str, Any]) -> Table:
    groups, now = found.get("failures", []), time.time()
    rows = [
        [
            f"{group.count:,}",
            f"{span(now - group.last)} ago",
            f"{span(now - group.first)} ago",
            group.task,
            f"{group.type}: {group.message}",
        ]
        for group in groups
    ]
    columns = ("count", "last", "first", "task", "failure")
    return Table("failures", columns, rows, ("count", "last", "first"), ("first",), [group.fingerprint for group in groups])


def tasks(found: dict[str, Any]) -> Table:
    paused = found.get("paused", {}).get("task", ())
    rows = [
        [
            row["task"],
            *(f"{row[f'{name}_per_second']:,.1f}" for name in ("done", "failed")),
            *("" if row[name] is None else span(row[name]) for name in LATENCIES),
            "paused" if row["task"] in paused else "",
        ]
        for row in found["tasks"]
    ]
    right = ("done/s", "failed/s", "wait p50", "wait p95", "run p50", "run p95")
    names = [row["task"] for row in found["tasks"]]
    return Table("tasks", ("task", *right, "note"), rows, right, ("wait p50", "run p50"), names)


VIEWS = {"queues": queues, "jobs": jobs, "workers": living, "failures": failures, "tasks": tasks}
"""In the order of the keys 1 to 5."""


def looked_up(broker: Broker, view: str, query: Query) -> dict[str, Any]:
    """What a view needs beside what all of them show."""
    more: dict[str, Any] = {"paused": pauses.paused(broker.kv)}
    if view == "jobs":
        more["jobs"] = search(broker, query, limit=LISTED).jobs
    elif view == "failures":
        more["failures"] = history.failure_groups(broker.kv)
    return more


def totals(found: dict[str, Any], width: int) -> str:
    """All queues and workers in one line, as far as there is room: what matters most first."""
    sums = []
    for name in ("ready", "running", "dead", "scheduled", "waiting"):
        known = [row[name] for row in found["queues"] if row[name] is not None]
        sums.append(f"{name} {show.number(sum(known) if known or not found['queues'] else None)}")
    done, failed = (sum(row[f"{name}_per_second"] for row in found["queues"]) for name in ("done", "failed"))
    running = sum(len(record.running) for record in found["workers"])
    slots = sum(sum(record.slots.values()) for record in found["workers"])
    rates = [
        f"done/s {done:,.1f}",
        f"failed/s {failed:,.1f}",
        f"workers {len(found['workers'])}",
        f"slots {running}/{slots}",
    ]
    parts = [*sums[:3], *rates, *sums[3:]]
    while len(text := "  ".join(parts)) > width and len(parts) > 1:
        parts.pop()
    return text


def dead_of(view: str, key: str) -> Query | None:
    """The dead jobs that a row is about; None for a row that is about none."""
    match view:
        case "queues":
            return Query((State.DEAD,), queue=key)
        case "failures":
            return Query((State.DEAD,), failure=key)
        case "tasks":
            return Query((State.DEAD,), task=key)
        case "jobs":
            return Query((State.DEAD,), ids=(key,))
    return None


def jobs_of(view: str, key: str) -> Query | None:
    """The jobs that a row is about."""
    match view:
        case "queues":
            return Query(queue=key)
        case "failures":
            return Query((State.DEAD,), failure=key)
        case "tasks":
            return Query(task=key)
        case "workers":
            return Query((State.RUNNING,), worker=key)
    return None
