"""`longboat dead`: the jobs whose attempts are used up, and what can be done about them."""

from __future__ import annotations

import click

from longboat.cli.fail import DONE, FAILED, CommandFailed
from longboat.cli.params import changes, json_option, url_option
from longboat.cli.words import query_argument
from longboat.core.job import State


@click.group(invoke_without_command=True)
@click.pass_context
def command(ctx: click.Context) -> None:
    """Dead jobs: those that used up their attempts, or could not be run at all. They are kept for 30 days.

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
@query_argument
@click.option("--queue", metavar="NAME", help="Only of this queue.")
@click.option("--task", metavar="NAME", help="Only of this task.")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, metavar="N", help="At most so many.")
@click.option("--after", metavar="TEXT", help="Go on where the same list ended.")
@json_option
@url_option
def list_(
    words: tuple[str, ...],
    queue: str | None,
    task: str | None,
    limit: int,
    after: str | None,
    as_json: bool,
    url: str | None,
) -> None:
    """List dead jobs, the newest first, each with its last failure. QUERY: see `longboat jobs --help`."""
    from longboat.cli.address import opened
    from longboat.cli.jobs import list_jobs
    from longboat.cli.words import of_jobs

    query = of_jobs(words, [State.DEAD], queue=queue, task=task)
    with opened(url) as broker:
        list_jobs(broker, query, after, limit, as_json)


@command.command()
@click.argument("id")
@json_option
@url_option
def show(id: str, as_json: bool, url: str | None) -> None:
    """All about the dead job ID: its arguments, and each failed attempt with its traceback."""
    from longboat.cli.address import opened
    from longboat.cli.jobs import show_job
    from longboat.client.inbox import not_found

    with opened(url) as broker:
        view = broker.inspector.find([id])[0]
        if view is None:
            raise not_found(id)
        if view.state is not State.DEAD:
            raise CommandFailed(f"job {id} is not dead: it is {view.state.value}", f"See `longboat jobs show {id}`.")
        show_job(view, as_json)


_WORDS = "[ID]... or [QUERY]..."


@command.command()
@click.argument("words", nargs=-1, metavar=_WORDS)
@click.option("--all", "every", is_flag=True, help="All dead jobs.")
@click.option("--queue", metavar="NAME", help="Those of this queue.")
@click.option("--task", metavar="NAME", help="Those of this task.")
@changes
@json_option
@url_option
def retry(
    words: tuple[str, ...],
    every: bool,
    queue: str | None,
    task: str | None,
    yes: bool,
    dry_run: bool,
    as_json: bool,
    url: str | None,
) -> int:
    """Make dead jobs ready again, with all their attempts anew; their failures stay on record.

    By ids, or --all, or --queue and --task, or a QUERY: if one of the words is such as queue:mail or error:timeout, all
    of them are (see `longboat jobs --help`). Says how many it would be, and asks.

    Exit status: 0 done, 1 some of the ids named no dead job.
    """
    return _many("retry", words, every, queue, task, yes, dry_run, as_json, url)


@command.command()
@click.argument("words", nargs=-1, metavar=_WORDS)
@click.option("--all", "every", is_flag=True, help="All dead jobs.")
@click.option("--queue", metavar="NAME", help="Those of this queue.")
@changes
@json_option
@url_option
def purge(
    words: tuple[str, ...], every: bool, queue: str | None, yes: bool, dry_run: bool, as_json: bool, url: str | None
) -> int:
    """Delete dead jobs for good: by ids, or --all, or those of a --queue, or a QUERY: see `longboat dead retry --help`.

    By ids or a QUERY, those that are part of a flow stay. Says how many it would be, and asks.

    Exit status: 0 done, 1 some of the ids named no dead job.
    """
    if words or not (every or queue):
        return _many("discard", words, every, queue, None, yes, dry_run, as_json, url)
    from longboat.cli.address import opened
    from longboat.cli.purge import delete

    _one_way(words, every, queue, None)
    with opened(url) as broker:
        return delete(broker, {State.DEAD}, queue, yes=yes, dry_run=dry_run, as_json=as_json)


def _one_way(words: tuple[str, ...], every: bool, queue: str | None, task: str | None) -> bool:
    """Whether the words are a query. Raises UsageError unless jobs are named in one way."""
    from longboat.operate.search import is_word

    query = any(is_word(word) for word in words)
    ways = (bool(words), every, bool(queue or task) and not query)
    if sum(ways) != 1:
        raise click.UsageError("Say which: ids, or --all, or --queue or --task, or words such as queue:mail.")
    return query


def _many(
    action: str,
    words: tuple[str, ...],
    every: bool,
    queue: str | None,
    task: str | None,
    yes: bool,
    dry_run: bool,
    as_json: bool,
    url: str | None,
) -> int:
    from longboat.cli import many
    from longboat.cli.address import opened
    from longboat.cli.words import of_jobs

    by_query = _one_way(words, every, queue, task)
    query = of_jobs(words if by_query else (), [State.DEAD], queue=queue, task=task)
    ids = dict.fromkeys(() if by_query else words)
    with opened(url) as broker:
        chosen = many.named(broker, query, list(ids)) if ids else many.choose(broker, query)
        missing = len(ids) - len(chosen.ids) if ids else 0
        if missing:
            click.echo(f"{missing} of the {len(ids)} ids: no dead job", err=True)
        status = many.carry_out(broker, action, query, chosen, yes=yes, dry_run=dry_run, as_json=as_json)
    return FAILED if missing and status == DONE else status
