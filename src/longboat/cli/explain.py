"""`longboat explain`: why a job is not running."""

from __future__ import annotations

import click

from longboat.cli.params import json_option, url_option


@click.command()
@click.argument("id")
@json_option
@url_option
def command(id: str, as_json: bool, url: str | None) -> None:
    """Say in one line why the job ID is not running: scheduled, behind others, paused, waiting for a job or at a limit.

    Exit status: 0 said, 1 there is no such job.
    """
    from longboat.cli import show
    from longboat.cli.address import opened
    from longboat.client.inbox import not_found
    from longboat.operate.explain import explain

    with opened(url) as broker:
        why = explain(broker, id)
    if why is None:
        raise not_found(id)
    click.echo(show.as_json({"id": id, "why": why}) if as_json else why)
