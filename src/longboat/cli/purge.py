"""`longboat purge`: deleting jobs by queue and state."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

import click

from longboat.cli.params import changes, url_option
from longboat.job import State

if TYPE_CHECKING:
    from longboat.broker import Broker

BATCH = 1000


@click.command()
@click.option("--queue", metavar="NAME", help="Only of this queue.")
@click.option(
    "--state",
    "states",
    multiple=True,
    type=click.Choice([state.value for state in State if state is not State.RUNNING]),
    metavar="STATE",
    help="Only those in this state; may be given several times. Default: every state but running.",
)
@changes
@url_option
def command(queue: str | None, states: tuple[str, ...], yes: bool, dry_run: bool, url: str | None) -> None:
    """Delete jobs for good, with their results and failures. Those that run are never deleted.

    Says how many jobs of which states it would be, and asks.

    \b
    longboat purge --state succeeded --yes
    longboat purge --queue mail --state ready --state scheduled --dry-run
    """
    from longboat.cli.address import opened

    chosen = {State(state) for state in states} or set(State) - {State.RUNNING}
    with opened(url) as broker:
        delete(broker, chosen, queue, yes=yes, dry_run=dry_run)


def delete(broker: Broker, states: Collection[State], queue: str | None, *, yes: bool, dry_run: bool) -> None:
    """Count, ask, delete in batches."""
    from longboat.cli.asking import agreed, jobs
    from longboat.progress import bar

    counts = broker.inspector.counts()
    found = {state: sum(n for (q, s), n in counts.items() if s is state and queue in (None, q)) for state in State}
    found = {state: n for state, n in found.items() if n and state in states}
    total = sum(found.values())
    words = ", ".join(f"{n:,} {state.value}" for state, n in found.items())
    what = f"delete {jobs(total)}" + (f" ({words})" if words else "")
    if not total:
        click.echo("no such jobs")
        return
    if not agreed(what, yes=yes, dry_run=dry_run):
        return
    deleted = 0
    with bar("Deleted", total) as advance:
        while deleted < total:  # no further: jobs may come as fast as they are deleted
            batch = broker.inspector.purge(states, queue=queue, limit=min(BATCH, total - deleted))
            if not batch:
                break
            deleted += batch
            advance(batch)
    click.echo(f"deleted {jobs(deleted)}")
