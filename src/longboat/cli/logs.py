"""`longboat logs`: what jobs logged, and what they log."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from longboat.cli import show
from longboat.cli.address import find_job, nothing, opened
from longboat.cli.fail import line
from longboat.cli.ids import short
from longboat.cli.params import outputs, queue_option, task_option
from longboat.cli.table import coloured
from longboat.core.codec import decoded
from longboat.core.job import State
from longboat.core.patterns import same
from longboat.core.text import escaped_lines
from longboat.errors import BrokerUnavailable, Unsupported
from longboat.observe.events import JobCancelled, JobDied, JobEnqueued, JobEvent, JobRetried, JobSucceeded
from longboat.observe.history import pages
from longboat.observe.stream import EventStream
from longboat.operate.search import Query, search
from longboat.tasks.handle import LOGS, LogLine

if TYPE_CHECKING:
    from longboat.contract.broker import Broker

EVERY = 0.4
"""Seconds between two looks for new lines."""
LATE = 2.0
"""Seconds after the end of a job in which its last lines may come."""
LOOK = 2.0
"""Seconds between two looks for running jobs."""
JOBS = 500
"""Jobs of which lines are shown, at most: of each state, and at a time."""
_ENDS = (JobSucceeded, JobRetried, JobDied, JobCancelled)
_COLOURS = {"WARNING": "yellow", "ERROR": "red", "CRITICAL": "red"}


class Said(NamedTuple):
    """A line, and who logged it."""

    job: str
    task: str
    line: LogLine


@click.command()
@click.argument("id", required=False)
@task_option
@queue_option
@click.option("-f", "--follow", is_flag=True, help="Go on with what is logged from now on.")
@outputs
def command(id: str | None, task: str | None, queue: str | None, follow: bool, as_json: bool, url: str | None) -> None:
    """Show what jobs logged: the job ID, or those of a task or a queue, or all. Lines are kept for a day.

    With --follow, show what they log from now on, about half a second later: of the job ID until it has ended, of others
    until Ctrl-C. Of a task or a queue the lines of its 500 latest jobs in each state are shown, by time.

    With --json, one line per line: {"at": …, "level": "INFO", "job": …, "task": …, "attempt": 1, "text": …}.

    \b
    longboat logs ID
    longboat logs --task mail.send --follow
    """
    if id and (task or queue):
        raise click.UsageError("Name either a job, or --task and --queue.")
    colours, any_line = coloured(), False
    wanted = Query(task=task or "", queue=queue or "")
    with opened(url) as broker:
        found = _of_job(broker, id, follow) if id else followed(broker, wanted) if follow else recent(broker, wanted)
        for said in found:
            any_line = True
            click.echo(show.to_json(_plain(said)) if as_json else _worded(said, named=not id, colours=colours))
    if not any_line and not as_json:
        nothing("no lines")


def _of_job(broker: Broker, text: str, follow: bool) -> Iterator[Said]:
    view, reader, until = find_job(broker, text), _Reader(broker), 0.0
    while True:
        ended = not follow or view.state.ended
        until = until or (time.monotonic() + (LATE if follow and _just(view.ended) else 0.0) if ended else 0.0)
        yield from reader.new({view.id: view.task})
        if until and time.monotonic() >= until:
            return
        time.sleep(EVERY)
        with suppress(BrokerUnavailable):
            view = find_job(broker, view.id)


def _just(ended: float | None) -> bool:
    return ended is None or time.time() - ended < 2 * LATE


def recent(broker: Broker, wanted: Query) -> Iterator[Said]:
    """The lines of the latest jobs that are found, by time."""
    jobs: dict[str, str] = {}
    for state in (State.RUNNING, State.READY, State.SCHEDULED, State.DEAD, State.CANCELLED, State.SUCCEEDED):
        with suppress(Unsupported):  # jobs in this state are not listed here
            found = search(broker, Query((state,), task=wanted.task, queue=wanted.queue), limit=JOBS)
            jobs |= {view.id: view.task for view in found.jobs}
    yield from _Reader(broker).new(jobs)


def followed(broker: Broker, wanted: Query) -> Iterator[Said]:
    """What the jobs that are found log, for ever."""
    reader, live, over, look_at = _Reader(broker), dict[str, str](), dict[str, float](), 0.0
    with EventStream.of(broker) as stream:
        while True:
            now = time.monotonic()
            with suppress(BrokerUnavailable):
                if now >= look_at:
                    look_at = now + LOOK
                    running = _running(broker, wanted)
                    over |= dict.fromkeys(live.keys() - running.keys() - over.keys(), now + LATE)
                    live |= running
                for event in stream.poll():
                    if isinstance(event, JobEvent) and not isinstance(event, JobEnqueued) and _fits(wanted, event):
                        live[event.id] = event.task
                        over.pop(event.id, None)
                        over |= {event.id: now + LATE} if isinstance(event, _ENDS) else {}
                yield from reader.new(dict(list(live.items())[-JOBS:]))
                for job_id in [job_id for job_id, until in over.items() if now >= until]:
                    reader.forget(job_id)
                    del over[job_id]
                    live.pop(job_id, None)
            time.sleep(EVERY)


def _running(broker: Broker, wanted: Query) -> dict[str, str]:
    found = search(broker, Query((State.RUNNING,), task=wanted.task, queue=wanted.queue), limit=JOBS)
    return {view.id: view.task for view in found.jobs}


def _fits(wanted: Query, event: JobEvent) -> bool:
    return (not wanted.task or same(wanted.task, event.task)) and (not wanted.queue or same(wanted.queue, event.queue))


class _Reader:
    """Reads each line once."""

    def __init__(self, broker: Broker) -> None:
        self._kv = broker.kv
        self._last: dict[str, str] = {}
        """By job, the key of the line that was read last."""

    def new(self, jobs: Mapping[str, str]) -> list[Said]:
        """The lines of these jobs (id -> task) that were not read yet, by time."""
        found: list[Said] = []
        for job_id, task in jobs.items():
            for entries in pages(self._kv, LOGS + job_id, self._last.get(job_id, "")):
                self._last[job_id] = entries[-1][0]
                found += [Said(job_id, task, said) for _, value in entries if (said := decoded(value, LogLine))]
        return sorted(found, key=lambda said: said.line.at)

    def forget(self, job_id: str) -> None:
        self._last.pop(job_id, None)


def _plain(said: Said) -> dict[str, Any]:
    its = said.line
    about = {"job": said.job, "task": said.task, "attempt": its.attempt}
    return {"at": its.at, "level": its.level, **about, "text": its.text}


def _worded(said: Said, *, named: bool, colours: bool) -> str:
    at = datetime.fromtimestamp(said.line.at).astimezone().isoformat(" ", "milliseconds")
    level, colour = line(said.line.level), _COLOURS.get(said.line.level)
    who = f" {line(said.task)} [{short(said.job) if colours else said.job}]" if named else ""
    return f"{at} {click.style(level, fg=colour) if colours and colour else level}{who}: {escaped_lines(said.line.text)}"
