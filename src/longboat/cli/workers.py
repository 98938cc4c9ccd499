"""`longboat workers`: who works here."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from longboat.cli.params import json_option, url_option

if TYPE_CHECKING:
    from longboat.history import WorkerCard

COLUMNS = ("name", "queues", "running", "slots", "ended", "memory", "up", "version")


@click.command()
@json_option
@url_option
def command(as_json: bool, url: str | None) -> None:
    """List the workers that have shown themselves in the last ten seconds.

    With --json a line a worker, with the jobs that run in it, the longest first (at most 100), and since when.
    """
    from longboat.cli import show
    from longboat.cli.address import opened
    from longboat.history import workers

    with opened(url) as broker:
        cards = workers(broker.board)
    if as_json:
        for card in cards:
            click.echo(show.as_json(card))
    elif cards:
        show.table(COLUMNS, [row(card) for card in cards], right=frozenset({"running", "slots", "ended", "memory", "up"}))
    else:
        click.echo("no workers")


def row(card: WorkerCard) -> list[str]:
    """A worker as a row of COLUMNS."""
    import time

    from longboat.cli import show

    queues = ",".join(card.queues) or "all"
    up = show.span(time.time() - card.started)
    memory = f"{card.memory / 1e6:.0f} MB"
    return [
        card.name,
        queues,
        f"{len(card.running)}",
        f"{sum(card.slots.values())}",
        f"{card.ended:,}",
        memory,
        up,
        card.version,
    ]
