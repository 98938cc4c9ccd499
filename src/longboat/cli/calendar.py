"""`longboat calendar`: what runs in the next hour."""

from __future__ import annotations

import click
import msgspec

from longboat.cli import show
from longboat.cli.address import opened
from longboat.cli.fail import line
from longboat.cli.params import outputs
from longboat.core.clock import SYSTEM
from longboat.observe.words import span
from longboat.operate.calendar import Entry, calendar


@click.command()
@outputs
def command(as_json: bool, url: str | None) -> None:
    """List what runs in the next hour: scheduled jobs, retries among them, and the ticks of schedules.

    A schedule with more than twelve ticks has one line, with their number. What is not listed, and what the broker cannot
    tell, is said on standard error.
    """
    with opened(url) as broker:
        found = calendar(broker)
    if as_json:
        click.echo(show.to_json(msgspec.to_builtins(found)))
        return
    now = SYSTEM.now()
    rows = [
        [show.moment(each.at, "%H:%M:%S"), f"in {span(each.at - now)}", each.task, each.queue, what(each)]
        for each in found.entries
    ]
    show.rows(("at", "when", "task", "queue", "what"), rows, "nothing runs in the next hour")
    for text in found.unknown:
        click.echo(line(text), err=True)


def what(entry: Entry) -> str:
    """What it is, in words."""
    if entry.schedule:
        return f"schedule {entry.schedule}, {entry.rule}{f', {entry.times:,} times' if entry.times > 1 else ''}"
    return f"job {entry.job}{f', attempt {entry.attempt}' if entry.attempt > 1 else ''}"
