"""Calendar: what runs in the next hour: scheduled jobs, retries among them, and the ticks of schedules."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from longboat.contract.broker import Broker
from longboat.core.clock import SYSTEM
from longboat.core.job import State
from longboat.errors import Unsupported
from longboat.operate import scheduler

AHEAD = 3600.0
"""Seconds that it covers."""
JOBS = 500
"""Scheduled jobs in it, at most: the next ones."""
TICKS = 12
"""Ticks of one schedule that have entries of their own, at most. More are one entry, with their number."""


class Entry(msgspec.Struct):
    """Something that will run."""

    at: float
    """Wall-clock time."""
    task: str
    queue: str
    schedule: str = ""
    """The name of the schedule whose tick it is."""
    job: str = ""
    """The id of the scheduled job."""
    attempt: int = 1
    """Of the job: 2 and more are retries."""
    times: int = 1
    """How often within the hour; `at` is the first time."""
    rule: str = ""
    """Of a schedule."""


class Calendar(msgspec.Struct):
    """What will run, by time."""

    entries: list[Entry] = []
    unknown: list[str] = []
    """Sentences: what this broker cannot tell, and what is not in the list."""


def calendar(broker: Broker) -> Calendar:
    """The next hour. It costs a bounded number of lookups, however many jobs are scheduled. Raises BrokerError."""
    found, now = Calendar(), SYSTEM.now()
    for what, entries in (("which jobs are scheduled", _jobs), ("when schedules are due", _ticks)):
        try:
            found.entries += entries(broker, now, found.unknown)
        except Unsupported as error:
            found.unknown.append(f"{what} is not known: {error}")
    found.entries.sort(key=lambda entry: entry.at)
    return found


def _jobs(broker: Broker, now: float, unknown: list[str]) -> Iterator[Entry]:
    page = broker.inspector.jobs(State.SCHEDULED, limit=JOBS)
    due = [job for job in page.jobs if job.due is not None and job.due <= now + AHEAD]
    for job in due:
        yield Entry(job.due or now, job.task, job.queue, job=job.id, attempt=job.attempts + 1)
    if page.after is not None and len(due) == len(page.jobs):
        unknown.append(f"only the next {JOBS} scheduled jobs are listed: there are more within the hour")


def _ticks(broker: Broker, now: float, unknown: list[str]) -> Iterator[Entry]:
    for each in scheduler.listed(broker, now, TICKS + 1):
        rule = each.schedule
        if rule is None or (each.problem and not rule.paused):
            unknown.append(f"schedule {each.name}: {each.problem}")
        due = [at for at in each.due if at <= now + AHEAD]
        if rule is None or not due:
            continue
        if len(due) > TICKS:
            # in parts, as `ticks` tells of the latest thousand only
            times = sum(len(rule.ticks(now + start, now + start + 600)) for start in range(0, int(AHEAD), 600))
            yield Entry(due[0], rule.task, rule.queue, each.name, times=times, rule=each.rule)
        else:
            yield from (Entry(at, rule.task, rule.queue, each.name, rule=each.rule) for at in due)
