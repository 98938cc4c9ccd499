"""`longboat dead`: jobs whose attempts are used up, and what can be done about them."""

from __future__ import annotations

from typing import Any

import click

from longboat.cli import jobs, many, purge
from longboat.cli.group import Group
from longboat.cli.params import changes, listing, outputs, query, queue_option, spread_option, task_option, together
from longboat.cli.query import query_of_jobs
from longboat.core.job import State
from longboat.operate.search import is_word


@click.group(cls=Group, invoke_without_command=True)
@click.pass_context
def command(ctx: click.Context) -> None:
    """Dead jobs: they used up their attempts, or could not be run at all. They are kept for 30 days.

    \b
    longboat dead list task:tasks.* error:timeout
    longboat dead show ID
    longboat dead retry --queue mail --dry-run
    longboat dead purge ID ID
    longboat dead purge --all --yes
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


@command.command("list")
@query
@listing
def list_(words: tuple[str, ...], **given: Any) -> None:
    """List dead jobs, newest first, each with its last failure. QUERY: see `longboat jobs --help`."""
    jobs.list_jobs(words, [State.DEAD], **given)


@command.command()
@click.argument("id")
@outputs
def show(**given: Any) -> None:
    """Show everything about the dead job ID: its arguments, and each failed attempt with its traceback."""
    jobs.show_job(**given, dead=True)


_which = together(
    click.argument("words", nargs=-1, metavar="[ID]... or [QUERY]..."),
    click.option("--all", "every", is_flag=True, help="All dead jobs."),
    queue_option,
    task_option,
    changes,
    outputs,
)


@command.command()
@spread_option
@_which
def retry(**given: Any) -> int:
    """Retry dead jobs. Their attempts are counted anew; their failures stay on record. With --spread 10m they come back
    evenly over ten minutes; jobs of flows come back at once.

    Name them by their ids, by --all, by --queue and --task, or by a QUERY. If one of the words is like queue:mail or
    error:timeout, all words are a QUERY (see `longboat jobs --help`). Reports how many jobs it would be, and asks.

    Exit status: 0 done, 1 some ids named no dead job.
    """
    return _change("retry", **given)


@command.command("purge")
@_which
def purge_(words: tuple[str, ...], every: bool, queue: str | None, task: str | None, **given: Any) -> int:
    """Delete dead jobs for good. Name them as for `longboat dead retry`.

    Unless they are named by --all or --queue alone, those that are part of a flow are skipped. Reports how many jobs it
    would be, and asks.

    Exit status: 0 done, 1 some ids named no dead job.
    """
    if words or task or not (every or queue):
        return _change("discard", words, every, queue, task, **given)
    _is_query(words, every, queue, task)
    return purge.delete({State.DEAD}, queue, **given)


def _change(action: str, words: tuple[str, ...], every: bool, queue: str | None, task: str | None, **how: Any) -> int:
    is_query = _is_query(words, every, queue, task)
    query = query_of_jobs(words if is_query else (), [State.DEAD], queue=queue, task=task)
    return many.run(action, query, ids=() if is_query else [*dict.fromkeys(words)], **how)


def _is_query(words: tuple[str, ...], every: bool, queue: str | None, task: str | None) -> bool:
    """Whether the words are a query. Raises UsageError unless jobs are named in exactly one way."""
    is_query = any(is_word(word) for word in words)
    if sum((bool(words), every, bool(queue or task) and not is_query)) != 1:
        raise click.UsageError("Say which jobs: ids, or --all, or --queue or --task, or words such as queue:mail.")
    return is_query
