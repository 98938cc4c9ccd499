"""`longboat events`: what happens, as it happens."""

from __future__ import annotations

import click

from longboat.cli import show
from longboat.cli.address import opened
from longboat.cli.fail import line
from longboat.cli.params import outputs
from longboat.observe import logs
from longboat.observe.events import plain
from longboat.observe.stream import EventStream


@click.command()
@outputs
def command(as_json: bool, url: str | None) -> None:
    """Show what happens in all workers and callers from now on, until Ctrl-C.

    With --json, one line per event: {"kind": "job.succeeded", "worker": …, "id": …, "at": …}. The kinds are job.enqueued,
    job.started, job.progressed, job.succeeded, job.retried, job.died, job.cancelled, job.parked, jobs.parked, jobs.lost,
    worker.started, worker.stopping, worker.stopped, broker.down, broker.up, events.dropped.

    Workers and callers send events only while somebody listens; it takes them a second to notice. When there are too many,
    each process sends some thousands a second and says how many it left out.
    """
    with opened(url) as broker, EventStream.of(broker) as events:
        for event in events:
            if as_json:
                click.echo(show.to_json(plain(event)))
            else:
                at = show.moment(event.at, "%H:%M:%S")
                click.echo(f"{at}.{int(event.at % 1 * 1000):03d}  {line(event.worker)}  {line(logs.worded(event)[1])}")
