"""One job: its timeline, arguments, result, failures, logs, progress, and why it is not running."""

from __future__ import annotations

from typing import Any

import msgspec

from longboat.contract.capabilities import Capability
from longboat.core import codec
from longboat.core.clock import SYSTEM
from longboat.core.job import Failure, State
from longboat.core.views import JobView
from longboat.dashboard.ask import Ask, Page, Refused
from longboat.dashboard.plain import decoded, masked, masked_text, pretty
from longboat.dashboard.site import Site
from longboat.observe.history import fingerprint
from longboat.observe.words import span
from longboat.operate import audit, traces
from longboat.operate.explain import explain
from longboat.operate.job_data import shown
from longboat.tasks.handle import LOGS, PROGRESS, LogLine, Progress

WIDTH = 1000.0
"""Width of the timeline's drawing."""
TICK = 5.0
"""Width of a failed attempt's mark in it."""
LINES = 1000
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
DEAD_KEPT, WHY_KEPT = 10.0, 2.0
"""Seconds that it is believed whether a job is dead, and why it does not run, where no job can be looked up."""
LATE = 5.0
"""Seconds after a job's end in which its last log lines may still be stored."""
SHOWN = 40
"""Dependencies that are shown, at most."""


class Try(msgspec.Struct):
    """A failed attempt."""

    failure: Failure
    message: str
    traceback: str
    fingerprint: str
    """Of its group; empty if there is none, as for a cancellation."""


class Mark(msgspec.Struct):
    """Something on the timeline: a period, or a moment."""

    kind: str
    x: float
    width: float
    text: str


def screen(site: Site, ask: Ask) -> Page:
    job_id = ask.place["id"]
    if not site.can(Capability.LOOKUP):
        return _traced(site, ask)
    view = site.broker.inspector.find([job_id])[0]
    if view is None:
        raise Refused(404, *site.not_found(job_id))
    return _found(site, ask, view)


def _traced(site: Site, ask: Ask) -> Page:
    """Where no job can be looked up: the job itself if it is dead, else what is known of it."""
    job_id = ask.place["id"]
    found, heard = traces.trace(site.broker, job_id), site.overheard.find([job_id])[0]
    if heard is not None and heard.state is State.DEAD:
        heard = None  # it is found among the dead, unless it was retried or deleted
    if not (found.worker or found.revoked or heard):
        views = site.kept(f"dead {job_id}", lambda: traces.dead(site.searched, [job_id]), DEAD_KEPT)
        if views:
            return _found(site, ask, views[0])
    over = heard is not None and heard.state.ended and found.revoked is None
    why = "" if over else site.kept(f"why {job_id}", lambda: why_not(site, job_id), WHY_KEPT)
    told = {
        "progress": site.if_there(lambda: progress(site, job_id), None),
        **filtered(ask, site.listed(lambda: logs(site, job_id))),
    }
    clean = {"tries": tries(site, heard) if heard else [], "acts": site.listed(lambda: audit.of_job(site.broker.kv, job_id))}
    return Page("traced.html", {"trace": found, "job": heard, "why": why, "since": site.overheard.since, **clean, **told})


def why_not(site: Site, job_id: str) -> str:
    """Why it is not running, for people."""
    return masked_text(explain(site.broker, job_id) or "")


def _found(site: Site, ask: Ask, view: JobView) -> Page:
    args, undecodable = decoded(view.payload)
    result, result_wrong = decoded(view.result) if view.result is not None else (None, "")
    return Page(
        "job.html",
        {
            "job": view,
            "args": pretty(shown(args)),
            "undecodable": undecodable,
            "result": pretty(result) if view.result is not None else None,
            "result_wrong": result_wrong,
            "tries": tries(site, view),
            "marks": marks(view),
            "axis": axis(view),
            "width": WIDTH,
            "why": "" if view.state.ended else why_not(site, view.id),
            "progress": site.if_there(lambda: progress(site, view.id), None),
            **filtered(ask, site.listed(lambda: logs(site, view.id))),
            "acts": site.listed(lambda: audit.of_job(site.broker.kv, view.id)),
            "parents": _parents(site, view),
            "can": can(site, view),
            "headers": masked(view.headers),
            "edits": ask.query.get("edit") == "1",
        },
        live=not view.state.ended or SYSTEM.now() - (view.ended or 0.0) < LATE,
    )


def tries(site: Site, view: JobView) -> list[Try]:
    """The failed attempts, latest first."""
    known = {group.fingerprint for group in site.failures()}
    found = []
    for each in reversed(view.failures):
        alike = fingerprint(view.task, each)
        found.append(Try(each, masked_text(each.message), masked_text(each.traceback), alike if alike in known else ""))
    return found


def can(site: Site, view: JobView) -> dict[str, bool]:
    """What can be done with it."""
    constrained = view.constraints is not None and bool(view.constraints.after)
    movable = site.movable and not constrained
    return {
        "retry": view.state is State.DEAD,
        "edit": view.state.ended and site.can(Capability.LOOKUP),
        "cancel": not view.state.ended,
        "discard": view.state in (State.DEAD, State.READY, State.WAITING, State.SCHEDULED) and movable,
    }


def _life(view: JobView) -> tuple[float, float] | None:
    """From when it was enqueued to its end, or to now, or to when it is due. None: not known."""
    begin = view.enqueued or view.started or (view.failures[0].at if view.failures else None)
    if begin is None:
        return None
    end = max(view.ended or SYSTEM.now(), begin + 0.001)  # "begin" is from the caller's clock, which may say anything
    if view.state is State.SCHEDULED and view.due:
        end = max(end, view.due)
    return begin, end


def axis(view: JobView) -> list[str]:
    """What stands below the timeline, evenly spaced: the time since its beginning."""
    life = _life(view)
    return ["0", *(f"+{span((life[1] - life[0]) * part / 4)}" for part in range(1, 5))] if life else []


def marks(view: JobView) -> list[Mark]:
    """The job's life: that it waited, when it ran, when attempts failed."""
    life = _life(view)
    if life is None:
        return []
    begin, end = life

    def x(at: float) -> float:
        return round(WIDTH * min(1.0, max(0.0, (at - begin) / max(0.001, end - begin))), 1)

    found = [Mark("waited", 0.0, WIDTH, "")]
    if view.started is not None:
        over = view.ended or SYSTEM.now()
        kind = view.state.value if view.state.ended else "running"
        found.append(Mark(kind, x(view.started), max(6.0, x(over) - x(view.started)), f"attempt {max(1, view.begun)}"))
    for each in view.failures[:-1] if view.state is State.DEAD else view.failures:  # the last one is the period itself
        found.append(Mark("failed", min(x(each.at), WIDTH - TICK), TICK, f"attempt {each.attempt} failed: {each.type}"))
    return found


def progress(site: Site, job_id: str) -> Progress | None:
    value = site.broker.kv.read(PROGRESS, [job_id])[0]
    found = codec.decoded(value, Progress)
    if found is not None:
        found.text = masked_text(found.text)
    return found


def logs(site: Site, job_id: str) -> list[LogLine]:
    entries = site.broker.kv.entries(LOGS + job_id, limit=LINES)
    lines = [line for _, value in entries if (line := codec.decoded(value, LogLine)) is not None]
    for line in lines:
        line.text = masked_text(line.text)
    return lines


def filtered(ask: Ask, lines: list[LogLine]) -> dict[str, Any]:
    """The lines of the level, or above, and of the attempt that the query names; and what there is to choose from."""
    level, attempt = ask.query.get("level", ""), ask.query.get("attempt", "")
    least = LEVELS.index(level) if level in LEVELS else 0
    shown = [
        line
        for line in lines
        if (line.level not in LEVELS or LEVELS.index(line.level) >= least) and attempt in ("", str(line.attempt))
    ]
    levels = [each for each in LEVELS if any(line.level == each for line in lines)]
    attempts = sorted({line.attempt for line in lines})
    return {"logs": shown, "logged": len(lines), "levels": levels, "level": level, "attempts": attempts, "attempt": attempt}


def _parents(site: Site, view: JobView) -> list[dict[str, Any]]:
    after = view.constraints.after[:SHOWN] if view.constraints else []
    views = site.broker.inspector.find(after) if after else []
    return [{"id": job_id, "view": each} for job_id, each in zip(after, views, strict=True)]
