"""`longboat purge`: deleting jobs by queue and state."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

import click

from longboat.cli.fail import DONE, INTERRUPTED
from longboat.cli.params import changes, json_option, url_option
from longboat.core.job import State

if TYPE_CHECKING:
    from longboat.contract.broker import Broker
    from longboat.operate.bulk import Done

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
@json_option
@url_option
def command(queue: str | None, states: tuple[str, ...], yes: bool, dry_run: bool, as_json: bool, url: str | None) -> int:
    """Delete jobs for good, with their results and failures. Those that run are never deleted.

    Says how many jobs of which states it would be, and asks.

    \b
    longboat purge --state succeeded --yes
    longboat purge --queue mail --state ready --state scheduled --dry-run
    """
    from longboat.cli.address import opened

    chosen = {State(state) for state in states} or set(State) - {State.RUNNING}
    with opened(url) as broker:
        return delete(broker, chosen, queue, yes=yes, dry_run=dry_run, as_json=as_json)


def delete(broker: Broker, states: Collection[State], queue: str | None, *, yes: bool, dry_run: bool, as_json: bool) -> int:
    """Count, ask, delete in batches; returns the exit status."""
    from longboat.cli import many
    from longboat.cli.asking import agreed, jobs
    from longboat.operate import bulk

    counts = broker.inspector.counts()
    found = {state: sum(n for (q, s), n in counts.items() if s is state and queue in (None, q)) for state in State}
    found = {state: n for state, n in found.items() if n and state in states}
    total, done = sum(found.values()), bulk.Done()
    words = ", ".join(f"{n:,} {state.value}" for state, n in found.items())
    if total and agreed(f"delete {jobs(total)} ({words})", yes=yes, dry_run=dry_run, as_json=as_json):
        _purge(broker, states, queue, total, done)
        many.report(done, total, "deleted", "", "", as_json)
    if as_json:
        many.document("purge", total, [{"state": state.value, "jobs": n} for state, n in found.items()], done, dry_run)
    elif not total:
        click.echo("no such jobs")
    return INTERRUPTED if done.stopped else DONE


def _purge(broker: Broker, states: Collection[State], queue: str | None, total: int, done: Done) -> None:
    from longboat.cli.many import ctrl_c
    from longboat.client.progress_bar import bar

    with ctrl_c() as stop, bar("Deleted", total) as advance:
        while done.done < total:  # no further: jobs may come as fast as they are deleted
            done.stopped = stop()
            batch = 0 if done.stopped else broker.inspector.purge(states, queue=queue, limit=min(BATCH, total - done.done))
            if not batch:
                return
            done.done = done.tried = done.done + batch
            advance(batch)
