"""`longboat jobs`: lists of jobs, one in full, and what is done to all that a query finds."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

import click

from longboat.cli.params import STATE, changes, json_option, url_option
from longboat.cli.words import Listing
from longboat.core.job import State

if TYPE_CHECKING:
    from longboat.contract.broker import Broker
    from longboat.core.views import JobView
    from longboat.operate.search import Query

PAGE = 500


@click.group(cls=Listing)
@click.option("--state", type=STATE, metavar="STATE", help=f"Only those {', '.join(State)}.")
@click.option("--queue", metavar="NAME", help="Only of this queue.")
@click.option("--task", metavar="NAME", help="Only of this task.")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, metavar="N", help="At most so many.")
@click.option("--after", metavar="TEXT", help="Go on where the same list ended.")
@json_option
@url_option
@click.pass_context
def command(
    ctx: click.Context,
    state: str | None,
    queue: str | None,
    task: str | None,
    limit: int,
    after: str | None,
    as_json: bool,
    url: str | None,
) -> None:
    """List jobs: ready ones in the order they will run, ended ones newest first; without a state of all states.

    QUERY is the dashboard's search: state:dead,ready queue:mail task:mail.* id:ID error:timeout worker:NAME flow:ID
    args.user.id:42 args:text, and free text, which is part of the id, the task or the last failure. All of it must hold;
    * and ? stand for what they do in a shell. The options say the same as state:, queue: and task:.

    With --json a line each (times are seconds since 1970; "args" are the arguments by name, unnamed ones under "*").
    If there are more, the last line is {"after": …}.

    \b
    longboat jobs state:dead queue:mail error:timeout
    longboat jobs --json --limit 100000 | jq -r .task | sort | uniq -c
    longboat jobs show ID
    longboat jobs retry state:dead queue:mail --dry-run
    """
    if ctx.invoked_subcommand is not None:
        if state or queue or task or after:
            raise click.UsageError(
                f"--state, --queue, --task and --after are the list's; {ctx.invoked_subcommand} takes none."
            )
        ctx.default_map = {ctx.invoked_subcommand: {"as_json": as_json, "url": url}}
        return
    from longboat.cli.address import opened
    from longboat.cli.words import of_jobs

    query = of_jobs(ctx.args, [State(state)] if state else [], queue=queue, task=task)
    with opened(url) as broker:
        list_jobs(broker, query, after, limit, as_json)


@command.command()
@click.argument("id")
@json_option
@url_option
def show(id: str, as_json: bool, url: str | None) -> None:
    """All about the job ID: arguments, result, times, and each failed attempt with its traceback."""
    from longboat.cli.address import opened
    from longboat.client.inbox import not_found

    with opened(url) as broker:
        view = broker.inspector.find([id])[0]
        if view is None:
            raise not_found(id)
        show_job(view, as_json)


_query = click.argument("words", nargs=-1, required=True, metavar="QUERY...")


@command.command()
@_query
@changes
@json_option
@url_option
def retry(**given: Any) -> int:
    """Make all dead jobs that QUERY finds ready again, with all their attempts anew; their failures stay on record.

    \b
    longboat jobs retry state:dead queue:mail error:timeout --dry-run
    """
    return _bulk("retry", **given)


@command.command()
@_query
@changes
@json_option
@url_option
def cancel(**given: Any) -> int:
    """Cancel all jobs that QUERY finds and that have not ended, also those that run.

    \b
    longboat jobs cancel task:reports.* args.month:2024-12
    """
    return _bulk("cancel", **given)


@command.command()
@_query
@changes
@json_option
@url_option
def discard(**given: Any) -> int:
    """Delete all jobs for good that QUERY finds and that are dead, ready, scheduled or waiting.

    Those that are part of a flow stay. (`longboat purge` deletes those that succeeded or were cancelled.)

    \b
    longboat jobs discard state:dead task:old.* --dry-run
    """
    return _bulk("discard", **given)


@command.command()
@_query
@click.option("--to-queue", "to", required=True, metavar="NAME", help="The queue that they move to.")
@changes
@json_option
@url_option
def move(**given: Any) -> int:
    """Move all jobs into another queue that QUERY finds and that are ready, scheduled, waiting or dead.

    Their attempts and failures go with them. Those that are part of a flow stay. After a kill, the next move or discard
    finishes what was on its way. (`longboat move` moves jobs into another broker.)

    \b
    longboat jobs move queue:mail state:ready args.to:*@example.org --to-queue bulk-mail
    """
    return _bulk("move", **given)


def _bulk(
    action: str, words: tuple[str, ...], yes: bool, dry_run: bool, as_json: bool, url: str | None, to: str = ""
) -> int:
    from longboat.cli import many
    from longboat.cli.address import opened
    from longboat.cli.words import meant, queue_name
    from longboat.operate.bulk import ACTIONS

    query, to = meant(action, words), queue_name(to) if action == "move" else ""
    with opened(url) as broker:
        if ACTIONS[action].packs:
            broker.transfer.unconfirmed()  # raises where the broker cannot
        chosen = many.choose(broker, query, to=to)
        return many.carry_out(broker, action, query, chosen, to=to, yes=yes, dry_run=dry_run, as_json=as_json)


def show_job(view: JobView, as_json: bool) -> None:
    from longboat.cli import show

    if as_json:
        click.echo(show.as_json(show.plain(view)))
        return
    for text in show.details(view):
        click.echo(text)


def list_jobs(broker: Broker, query: Query, after: str | None, limit: int, as_json: bool) -> None:
    """Print up to `limit` jobs, and where to go on."""
    from longboat.cli import show
    from longboat.operate.search import search

    rows: list[list[str]] = []
    left = limit
    while left:
        found = search(broker, query, after=after, limit=min(left, PAGE))
        left -= len(found.jobs)
        for job in found.jobs:
            if as_json:
                click.echo(show.as_json(show.plain(job)))
            else:
                rows.append(show.row(job))
        after = found.after
        if after is None:
            break
    if not as_json:
        _print(rows)
    if after is not None:
        more = f"the first {limit:,}; there may be more: the same with --after {shlex.quote(after)}"
        click.echo(show.as_json({"after": after}) if as_json else more, err=not as_json)


def _print(rows: list[list[str]]) -> None:
    from longboat.cli import show

    if rows:
        show.table(show.COLUMNS, rows, right=frozenset({"attempts", "age"}))
    else:
        click.echo("no jobs")
