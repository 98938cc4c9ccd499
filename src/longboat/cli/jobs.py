"""`longboat jobs`: lists of jobs, and one in full."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import click

from longboat.cli.params import STATE, json_option, url_option
from longboat.job import State

if TYPE_CHECKING:
    from longboat.broker import Broker
    from longboat.job import JobView

PAGE = 500
ORDER = (State.RUNNING, State.READY, State.WAITING, State.SCHEDULED, State.DEAD, State.CANCELLED, State.SUCCEEDED)
"""The states, those that concern people most first."""


@click.group(invoke_without_command=True)
@click.option("--state", type=STATE, metavar="STATE", help=f"Only those {', '.join(State)}.")
@click.option("--queue", metavar="NAME", help="Only of this queue.")
@click.option("--task", metavar="NAME", help="Only of this task.")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, metavar="N", help="At most so many.")
@click.option("--after", metavar="TEXT", help="Go on where a list ended; needs the same --state.")
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
    """List jobs: ready ones in the order they will run, ended ones newest first; without --state of all states.

    With --json a line each (times are seconds since 1970; "args" are the arguments by name, unnamed ones under "*").
    If there are more, the last line is {"after": …}.

    \b
    longboat jobs --state dead --queue mail
    longboat jobs --json --limit 100000 | jq -r .task | sort | uniq -c
    longboat jobs show ID
    """
    if ctx.invoked_subcommand is not None:
        ctx.default_map = {ctx.invoked_subcommand: {"as_json": as_json, "url": url}}
        return
    if after is not None and state is None:
        raise click.UsageError("--after goes with --state.")
    from longboat.cli.address import opened

    with opened(url) as broker:
        states = [State(state)] if state else list(ORDER)
        list_jobs(broker, states, queue, task, after, limit, as_json)


@command.command()
@click.argument("id")
@json_option
@url_option
def show(id: str, as_json: bool, url: str | None) -> None:
    """All about the job ID: arguments, result, times, and each failed attempt with its traceback."""
    from longboat.cli.address import opened
    from longboat.inbox import not_found

    with opened(url) as broker:
        view = broker.inspector.find([id])[0]
        if view is None:
            raise not_found(id)
        show_job(view, as_json)


def show_job(view: JobView, as_json: bool) -> None:
    from longboat.cli import show

    if as_json:
        click.echo(show.as_json(show.plain(view)))
        return
    for text in show.details(view):
        click.echo(text)


def list_jobs(
    broker: Broker, states: list[State], queue: str | None, task: str | None, after: str | None, limit: int, as_json: bool
) -> None:
    """Print up to `limit` jobs, and where to go on."""
    from longboat.cli import show

    rows: list[list[str]] = []
    left = limit
    for state in states:
        while left:
            page = broker.inspector.jobs(state, queue=queue, task=task, after=after, limit=min(left, PAGE))
            left -= len(page.jobs)
            for job in page.jobs:
                if as_json:
                    click.echo(show.as_json(show.plain(job)))
                else:
                    rows.append(show.row(job))
            after = page.after
            if after is None:
                break
    if not as_json:
        _print(rows)
    if after is not None and len(states) == 1:
        more = f"more: --state {states[0].value} --after {shlex.quote(after)}"
        click.echo(show.as_json({"after": after}) if as_json else more, err=not as_json)
    elif not left and not as_json:
        click.echo(f"the first {limit:,}; there may be more: see --state and --limit", err=True)


def _print(rows: list[list[str]]) -> None:
    from longboat.cli import show

    if rows:
        show.table(show.COLUMNS, rows, right=frozenset({"attempts", "age"}))
    else:
        click.echo("no jobs")
