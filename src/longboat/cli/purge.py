"""`longboat purge`: deleting jobs by queue and state."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import click

from longboat.cli import acting, many
from longboat.cli.address import nothing, opened
from longboat.cli.asking import agreed, jobs
from longboat.cli.fail import DONE, INTERRUPTED
from longboat.cli.params import changes, outputs, queue_option
from longboat.client.progress_bar import bar
from longboat.core.job import State
from longboat.operate import bulk

BATCH = 1000


@click.command()
@queue_option
@click.option(
    "--state",
    "states",
    multiple=True,
    type=click.Choice([state.value for state in State if state is not State.RUNNING]),
    metavar="STATE",
    help="Only jobs in this state; may be repeated. Default: every state except running.",
)
@changes
@outputs
def command(queue: str | None, states: tuple[str, ...], **how: Any) -> int:
    """Delete jobs for good, with their results and failures. Running jobs are never deleted.

    Reports how many jobs in which states it would be, and asks.

    \b
    longboat purge --state succeeded --yes
    longboat purge --queue mail --state ready --state scheduled --dry-run
    """
    return delete({State(state) for state in states} or set(State) - {State.RUNNING}, queue, **how)


def delete(
    states: Collection[State],
    queue: str | None,
    *,
    yes: bool,
    dry_run: bool,
    as_json: bool,
    url: str | None,
    reason: str | None,
) -> int:
    """Count, ask, delete in batches; returns the exit status."""
    with opened(url) as broker:
        counts = broker.inspector.counts()
        found = {state: sum(n for (q, s), n in counts.items() if s is state and queue in (None, q)) for state in State}
        found = {state: n for state, n in found.items() if n and state in states}
        total, done = sum(found.values()), bulk.Progress()
        words = ", ".join(f"{n:,} {state.value}" for state, n in found.items())
        if total and agreed(f"delete {jobs(total)} ({words})", yes=yes, dry_run=dry_run, as_json=as_json):
            with many.ctrl_c() as stop, bar("Deleted", total) as advance:
                while done.done < total:  # no further: jobs may arrive as fast as they are deleted
                    limit, done.stopped = min(BATCH, total - done.done), stop()
                    batch = 0 if done.stopped else broker.inspector.purge(found, queue=queue, limit=limit)
                    if not batch:
                        break
                    done.done = done.tried = done.done + batch
                    advance(batch)
            where = f" in queue {queue}" if queue else ""
            acting.told(broker, "purge", f"{jobs(done.done)}{where} ({', '.join(found)}) deleted", reason)
            many.report(done, total, "deleted", "", "", as_json)
    if as_json:
        many.document("purge", [{"state": state.value, "jobs": n} for state, n in found.items()], done, dry_run)
    elif not total:
        nothing("no such jobs")
    return INTERRUPTED if done.stopped else DONE
