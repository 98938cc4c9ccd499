"""`longboat queues`: counts by queue and state, rates, and how long until each is empty."""

from __future__ import annotations

from collections.abc import Sequence

import click

from longboat.cli import show
from longboat.cli.address import opened
from longboat.cli.params import outputs, query
from longboat.cli.query import Listing, fits, query_of
from longboat.core.clock import SYSTEM
from longboat.core.job import State
from longboat.observe.drain import drains
from longboat.observe.numbers import numbers
from longboat.observe.words import rate
from longboat.operate.why_slow import stop

SHOWN = (State.READY, State.SCHEDULED, State.WAITING, State.RUNNING, State.SUCCEEDED, State.DEAD, State.CANCELLED)
DROP = (State.CANCELLED, State.SUCCEEDED, State.WAITING, State.SCHEDULED, "in", "out")


@click.group(cls=Listing)
@outputs
@click.pass_context
def command(ctx: click.Context, as_json: bool, url: str | None) -> None:
    """Count the jobs of each queue by state, and tell how long until it is empty. Costs the same for ten jobs as for ten
    million.

    QUERY: queue: (its name), state: (queues with such jobs), or part of the name.

    With --json, one line per queue: {"queue": "default", "ready": 3, …}. A number that the broker does not know is
    – or null.

    in, out: jobs that became due, and attempts that ended, per second over the last ten seconds; of a queue of slow jobs,
    over the last minute or 15 minutes. outlook: how long until it is empty at these rates. `longboat explain --queue
    NAME` says what holds its jobs.

    Ended jobs are counted while they are kept: an hour unless the task says otherwise, dead ones 30 days.
    """
    if ctx.invoked_subcommand is None:
        _list(ctx.args, as_json, url)
    else:
        ctx.default_map = {ctx.invoked_subcommand: {"as_json": as_json, "url": url}}


@command.command("list")
@query
@outputs
def list_(words: tuple[str, ...], as_json: bool, url: str | None) -> None:
    """Count the jobs of the queues that QUERY finds, as `longboat queues` does."""
    _list(words, as_json, url)


def _list(words: Sequence[str], as_json: bool, url: str | None) -> None:
    wanted = query_of("queues", ("queue", "state"), words)
    with opened(url) as broker:
        found = numbers(broker)
        rates = stop(broker, drains(broker, found, SYSTEM.now()))
    items = [
        (
            {"queue": queue, **each, **drain.data()},
            [queue, *map(show.number, each.values()), rate(drain.coming), rate(drain.ending), drain.outlook],
        )
        for queue in sorted(found.queues)
        if fits(wanted, [queue], queue=[queue])
        and (not wanted.states or any((queue, state) in found.counts for state in wanted.states))
        for each in [{state.value: found.of(queue, state) for state in SHOWN}]
        for drain in [rates[queue]]
    ]
    columns = ("queue", *SHOWN, "in", "out", "outlook")
    show.items(columns, items, "no such queues" if words else "no jobs", as_json=as_json, right=columns[1:-1], drop=DROP)
