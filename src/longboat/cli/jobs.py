"""`longboat jobs`: lists of jobs, one in full, and changes to all that a query finds."""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from typing import Any

import click
import msgspec

from longboat.cli import many, next_page, show
from longboat.cli.address import find_job, opened
from longboat.cli.fail import CommandFailed
from longboat.cli.ids import wholes
from longboat.cli.params import STATE, changes, listing, outputs, query, spread_option, together
from longboat.cli.query import Listing, query_of_jobs
from longboat.contract.broker import Broker
from longboat.contract.capabilities import Capability
from longboat.core.job import State
from longboat.errors import Unsupported
from longboat.operate import audit
from longboat.operate.search import Found, Query, search
from longboat.operate.times import told

PAGE = 500
SECONDS = 10.0
"""After these a search that finds little ends, and says where to go on."""


_listing = together(
    click.option("--state", type=STATE, metavar="STATE", help=f"Only jobs in this state: {', '.join(State)}."), listing
)


@click.group(cls=Listing)
@_listing
@click.pass_context
def command(ctx: click.Context, /, **given: Any) -> None:
    """List jobs: ready ones in the order in which they will run, ended ones newest first.

    QUERY is the search language of the dashboard: state:dead,ready queue:mail task:mail.* id:ID error:timeout worker:NAME
    flow:ID args.user.id:42 args:text, and free text, which matches part of the id, the task or the last failure. at:03:12
    finds what ran in that minute, after: and before: what ran then; a time is 03:12, 2026-11-29 or 2026-11-29T03:12, local
    unless it ends with Z or +01:00. A job is listed if all words match; * and ? work as in a shell. --state, --queue and
    --task mean the same as state:, queue: and task:.

    With --json, one line per job. Times are seconds since 1970; "args" holds the arguments by name, unnamed ones under
    "*". If there are more jobs, the last line is {"after": …}. A search that takes longer than 10 s stops and says how to
    go on.

    \b
    longboat jobs list state:dead queue:mail error:timeout
    longboat jobs at:03:12
    longboat jobs --json --limit 100000 | jq -r .task | sort | uniq -c
    longboat jobs show ID
    longboat jobs retry state:dead queue:mail --dry-run
    """
    if ctx.invoked_subcommand is None:
        _list(ctx.args, **given)
    elif ctx.invoked_subcommand == "list":
        ctx.default_map = {"list": given}
    elif given["state"] or given["queue"] or given["task"] or given["after"]:
        raise click.UsageError(
            f"{ctx.invoked_subcommand} takes no --state, --queue, --task or --after: use words of a QUERY."
        )
    else:
        ctx.default_map = {ctx.invoked_subcommand: {name: given[name] for name in ("as_json", "url")}}


@command.command("list")
@query
@_listing
def list_(words: tuple[str, ...], **given: Any) -> None:
    """List the jobs that QUERY finds, as `longboat jobs` does."""
    _list(words, **given)


def _list(words: Sequence[str], *, state: str | None, **given: Any) -> None:
    list_jobs(words, [State(state)] if state else [], **given)


@command.command("show")
@click.argument("id")
@outputs
def show_(**given: Any) -> None:
    """Show everything about the job ID: arguments, result, times, and each failed attempt with its traceback."""
    show_job(**given)


_query = together(click.argument("words", nargs=-1, required=True, metavar="QUERY..."), changes, outputs)


@command.command()
@spread_option
@_query
def retry(**given: Any) -> int:
    """Retry all dead jobs that QUERY finds. Their attempts are counted anew; their failures stay on record.

    With --spread 10m they come back evenly over ten minutes; jobs of flows come back at once.

    \b
    longboat jobs retry state:dead queue:mail error:timeout --dry-run
    """
    return many.by_words("retry", **given)


@command.command()
@_query
def cancel(**given: Any) -> int:
    """Cancel all jobs that QUERY finds and that have not ended, including running ones.

    \b
    longboat jobs cancel task:reports.* args.month:2024-12
    """
    return many.by_words("cancel", **given)


@command.command()
@_query
def discard(**given: Any) -> int:
    """Delete all dead, ready, scheduled or waiting jobs that QUERY finds, for good.

    Jobs that are part of a flow are skipped. (`longboat purge` deletes succeeded and cancelled jobs.)

    \b
    longboat jobs discard state:dead task:old.* --dry-run
    """
    return many.by_words("discard", **given)


@command.command()
@click.option("--to-queue", "to", required=True, metavar="NAME", help="The queue to move them to.")
@_query
def move(**given: Any) -> int:
    """Move all ready, scheduled, waiting or dead jobs that QUERY finds to another queue.

    Their attempts and failures go with them. Jobs that are part of a flow are skipped. If the command is killed, the next
    move or discard finishes what it had begun. (`longboat move` moves jobs to another broker.)

    \b
    longboat jobs move queue:mail state:ready args.to:*@example.org --to-queue bulk-mail
    """
    return many.by_words("move", **given)


def show_job(id: str, as_json: bool, url: str | None, *, dead: bool = False) -> None:
    """Print all of a job; `dead`: it has to be."""
    with opened(url) as broker:
        view = find_job(broker, id)
        acts = audit.of_job(broker.kv, view.id) if Capability.KV in broker.capabilities else []
    if dead and view.state is not State.DEAD:
        raise CommandFailed(f"job {view.id} is not dead: it is {view.state.value}", f"See `longboat jobs show {view.id}`.")
    plain = {**show.plain(view), "acts": [msgspec.structs.asdict(each) for each in acts]}
    for text in [show.to_json(plain)] if as_json else show.details(view, acts):
        click.echo(text)


def list_jobs(
    words: Sequence[str],
    states: Sequence[State],
    *,
    queue: str | None,
    task: str | None,
    limit: int,
    after: str | None,
    as_json: bool,
    url: str | None,
) -> None:
    """Print up to `limit` jobs, and where to continue."""
    wanted, rows, left = query_of_jobs(words, states, queue=queue, task=task), list[list[str]](), limit
    looked, end, unlisted = 0, time.monotonic() + SECONDS, tuple[State, ...]()
    with opened(url) as broker:
        wanted = msgspec.structs.replace(wanted, ids=tuple(wholes(broker, wanted.ids)))
        after = next_page.meant(broker, after)
        while left:
            found = _search(broker, wanted, after, min(left, PAGE))
            short = len(found.jobs) < min(left, PAGE)
            left, looked, after = left - len(found.jobs), looked + found.looked, found.after
            unlisted += found.unlisted
            for job in found.jobs:
                if as_json:
                    click.echo(show.to_json(show.plain(job)))
                else:
                    rows.append(show.row(job))
            if after is None or (short and time.monotonic() >= end):
                break
        if after is not None and not as_json:
            after = next_page.shortened(broker, after)
    if not as_json:
        show.rows(show.COLUMNS, rows, "no jobs", right=show.RIGHT, drop=("state",) * (len(states) == 1) + show.DROP)
    if wanted.timed:
        click.echo(f"These jobs ran {told(wanted.since, wanted.until)}.", err=True)
    if unlisted:
        click.echo(f"This broker lists no jobs that are {', '.join(unlisted)}.", err=True)
    if after is not None:
        end_of = f"{looked:,} jobs have been searched so far" if left else f"these are the first {limit:,}"
        more = f"{end_of}; to see more, repeat it with --after {shlex.quote(after)}"
        click.echo(show.to_json({"after": after}) if as_json else more, err=not as_json)


def _search(broker: Broker, query: Query, after: str | None, limit: int) -> Found:
    try:
        return search(broker, query, after=after, limit=limit)
    except Unsupported as error:
        if query.states == (State.DEAD,) or Capability.DEAD_JOBS not in broker.capabilities:
            raise
        raise Unsupported(f"{error}\nThe dead ones can be listed: `longboat jobs --state dead`.") from None
