"""`longboat attention`: what is stuck or stands still."""

from __future__ import annotations

import click
import msgspec

from longboat.cli import show
from longboat.cli.address import opened
from longboat.cli.fail import DONE, UNHEALTHY, line
from longboat.cli.params import outputs
from longboat.operate.attention import attention


@click.command()
@outputs
def command(as_json: bool, url: str | None) -> int:
    """List what is stuck: queues without a worker, paused queues with jobs, schedules that missed a tick, jobs that run
    for much longer than usual, that failed ten times or more, or that have been held for an hour.

    A job runs for too long from twice the time on that 99 % of its task's attempts took in the last day. A bounded number
    of jobs is looked at; what was not, and what the broker cannot tell, is said on standard error.

    Exit status: 0 nothing needs attention, 5 something does.
    """
    with opened(url) as broker:
        found = attention(broker)
    if as_json:
        click.echo(show.to_json(msgspec.to_builtins(found)))
    else:
        for item in found.items:
            click.echo(f"{item.kind:<9}  {line(item.what)}")
        for text in found.unknown:
            click.echo(line(text), err=True)
        if not found.items:
            click.echo("nothing needs attention")
    return UNHEALTHY if found.items else DONE
