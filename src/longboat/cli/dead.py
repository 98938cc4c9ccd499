"""`longboat dead`: the jobs whose attempts are used up, and what can be done about them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from longboat.cli.fail import DONE, FAILED, CommandFailed
from longboat.cli.params import changes, json_option, url_option
from longboat.job import State

if TYPE_CHECKING:
    from longboat.broker import Broker

BATCH = 200


@click.group(invoke_without_command=True)
@click.pass_context
def command(ctx: click.Context) -> None:
    """Dead jobs: those that used up their attempts, or could not be run at all. They are kept for 30 days.

    \b
    longboat dead list --task tasks.add
    longboat dead show ID
    longboat dead retry --queue mail --dry-run
    longboat dead purge --all --yes
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


@command.command("list")
@click.option("--queue", metavar="NAME", help="Only of this queue.")
@click.option("--task", metavar="NAME", help="Only of this task.")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, metavar="N", help="At most so many.")
@click.option("--after", metavar="TEXT", help="Go on where a list ended.")
@json_option
@url_option
def list_(queue: str | None, task: str | None, limit: int, after: str | None, as_json: bool, url: str | None) -> None:
    """List dead jobs, the newest first, each with its last failure."""
    from longboat.cli.address import opened
    from longboat.cli.jobs import list_jobs

    with opened(url) as broker:
        list_jobs(broker, [State.DEAD], queue, task, after, limit, as_json)


@command.command()
@click.argument("id")
@json_option
@url_option
def show(id: str, as_json: bool, url: str | None) -> None:
    """All about the dead job ID: its arguments, and each failed attempt with its traceback."""
    from longboat.cli.address import opened
    from longboat.cli.jobs import show_job
    from longboat.inbox import not_found

    with opened(url) as broker:
        view = broker.inspector.find([id])[0]
        if view is None:
            raise not_found(id)
        if view.state is not State.DEAD:
            raise CommandFailed(f"job {id} is not dead: it is {view.state.value}", f"See `longboat jobs show {id}`.")
        show_job(view, as_json)


@command.command()
@click.argument("ids", nargs=-1, metavar="[ID]...")
@click.option("--all", "every", is_flag=True, help="All dead jobs.")
@click.option("--queue", metavar="NAME", help="Those of this queue.")
@click.option("--task", metavar="NAME", help="Those of this task.")
@changes
@url_option
def retry(
    ids: tuple[str, ...], every: bool, queue: str | None, task: str | None, yes: bool, dry_run: bool, url: str | None
) -> int:
    """Make dead jobs ready again, with all their attempts anew; their failures stay on record.

    By ids, or --all, or --queue and --task. Says how many it would be, and asks.

    Exit status: 0 done, 1 some of the ids named no dead job.
    """
    if sum((bool(ids), every, bool(queue or task))) != 1:
        raise click.UsageError("Say which: ids, or --all, or --queue and --task.")
    from longboat.cli.address import opened
    from longboat.cli.asking import agreed, jobs
    from longboat.progress import bar

    with opened(url) as broker:
        chosen = _dead_among(broker, ids) if ids else _dead(broker, queue, task)
        missing = len(set(ids)) - len(chosen) if ids else 0
        if missing:
            click.echo(f"{missing} of the {len(set(ids))} ids: no dead job", err=True)
        if not chosen:
            click.echo("no such jobs")
        elif agreed(f"retry {jobs(len(chosen), 'dead')}", yes=yes, dry_run=dry_run):
            revived = 0
            with bar("Retried", len(chosen)) as advance:
                for start in range(0, len(chosen), BATCH):
                    batch = chosen[start : start + BATCH]
                    revived += len(broker.inspector.revive(batch))
                    advance(len(batch))
            click.echo(f"retried {jobs(revived, 'dead')}")
    return FAILED if missing else DONE


@command.command()
@click.option("--all", "every", is_flag=True, help="All dead jobs.")
@click.option("--queue", metavar="NAME", help="Those of this queue.")
@changes
@url_option
def purge(every: bool, queue: str | None, yes: bool, dry_run: bool, url: str | None) -> None:
    """Delete dead jobs for good: --all, or those of a --queue. Says how many it would be, and asks."""
    if every == bool(queue):
        raise click.UsageError("Say which: --all, or --queue.")
    from longboat.cli.address import opened
    from longboat.cli.purge import delete

    with opened(url) as broker:
        delete(broker, {State.DEAD}, queue, yes=yes, dry_run=dry_run)


def _dead_among(broker: Broker, ids: tuple[str, ...]) -> list[str]:
    views = broker.inspector.find(list(dict.fromkeys(ids)))
    return [view.id for view in views if view is not None and view.state is State.DEAD]


def _dead(broker: Broker, queue: str | None, task: str | None) -> list[str]:
    ids: list[str] = []
    after = None
    while True:
        page = broker.inspector.jobs(State.DEAD, queue=queue, task=task, after=after, limit=BATCH)
        ids += [job.id for job in page.jobs]
        after = page.after
        if after is None:
            return ids
