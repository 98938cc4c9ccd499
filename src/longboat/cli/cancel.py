"""`longboat cancel`: by id."""

from __future__ import annotations

import click

from longboat.cli.fail import DONE, FAILED
from longboat.cli.params import url_option


@click.command()
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@url_option
def command(ids: tuple[str, ...], url: str | None) -> int:
    """Cancel jobs, also while they run: a running one is told within about a second, and cut off if it does not end.

    Prints a line for each.

    Exit status: 0 all were cancelled or asked to stop, 1 some were unknown or had ended.
    """
    from longboat.cli.address import opened
    from longboat.job import State

    status = DONE
    with opened(url) as broker:
        affected = set(broker.inspector.cancel(ids))
        for job_id, view in zip(ids, broker.inspector.find(ids), strict=True):
            if view is None:
                became, status = "unknown", FAILED
            elif view.state is State.RUNNING:
                became = "running, asked to stop"
            elif job_id in affected:
                became = "cancelled"
            else:
                became, status = f"had ended: {view.state.value}", FAILED
            click.echo(f"{job_id}  {became}")
    return status
