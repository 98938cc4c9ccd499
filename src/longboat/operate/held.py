"""Held: what keeps jobs that wait, as groups of those with one cause."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from longboat.contract.broker import Broker
from longboat.core.text import counted
from longboat.core.views import JobView, LimitView
from longboat.operate.explain import limit_now
from longboat.operate.pauses import Kind, said


class Held(msgspec.Struct):
    """Jobs that wait for the same."""

    why: str
    """In words."""
    jobs: list[JobView]
    """Those of them that were looked at, oldest first."""
    weight: int
    """How many wait for it, as far as is known."""
    limit: str = ""
    """The key of the limit that holds them."""
    paused: bool = False
    """Whether it is a pause that somebody has to end."""


def groups(broker: Broker, jobs: Sequence[JobView], paused: Mapping[Kind, set[str]]) -> list[Held]:
    """These waiting jobs by what keeps them, the largest group first. `paused`: what is paused.

    Costs one lookup of all their limits.
    """
    limits = _reached(broker, jobs)
    found: dict[tuple[str, str], Held] = {}
    for job in jobs:
        made = _cause(job, limits, paused)
        group = found.setdefault((made.limit, made.why), made)
        group.jobs.append(job)
    for group in found.values():
        group.weight = max(group.weight, len(group.jobs))
        if not group.limit:
            group.why = f"{counted(len(group.jobs), 'job')} {group.why}"
    return sorted(found.values(), key=lambda group: -group.weight)


def _cause(job: JobView, limits: dict[str, LimitView], paused: Mapping[Kind, set[str]]) -> Held:
    if why := said(paused, job):
        return Held(f"waiting because {why[0]}", [], 0, paused=True)
    held = job.constraints
    for each in held.limits if held else ():
        if (limit := limits.get(each.key)) is not None:
            return Held(limit_now(limit), [], limit.waiting, limit=each.key)
    if held and held.after:
        return Held("waiting for other jobs to succeed", [], 0)
    return Held(f"waiting for a worker that can run task {job.task}", [], 0)


def _reached(broker: Broker, jobs: Sequence[JobView]) -> dict[str, LimitView]:
    """The limits of these jobs at which jobs wait, by key."""
    keys = list(dict.fromkeys(limit.key for job in jobs if job.constraints for limit in job.constraints.limits))
    found = broker.inspector.limits(keys) if keys else []
    return {limit.key: limit for limit in found if limit is not None and limit.waiting}
