"""`longboat explain`: why a job is not running."""

from __future__ import annotations

import click

from longboat.cli import show
from longboat.cli.address import looked_at, opened
from longboat.cli.params import outputs
from longboat.client.inbox import not_found
from longboat.core.text import each_line_escaped
from longboat.operate.explain import explain


@click.command()
@click.argument("id")
@outputs
def command(id: str, as_json: bool, url: str | None) -> None:
    """Explain in one line why the job ID is not running: scheduled, behind others, paused, waiting for a job, at a limit.

    RabbitMQ without a store cannot look up a job: told is what is known of it, and what goes on in each queue.

    Exit status: 0 explained, 1 there is no such job.
    """
    with opened(url) as broker:
        why = explain(broker, id, looked_at(), thorough=True)
        if why is None:
            raise not_found(id)
    click.echo(show.to_json({"id": id, "why": why}) if as_json else each_line_escaped(why))
