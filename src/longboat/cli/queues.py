"""`longboat queues`: counts by queue and state."""

from __future__ import annotations

import click

from longboat.cli import show
from longboat.cli.address import opened
from longboat.cli.params import outputs, query
from longboat.cli.query import fits, query_of
from longboat.core.job import State
from longboat.observe.numbers import numbers

SHOWN = (State.READY, State.SCHEDULED, State.WAITING, State.RUNNING, State.SUCCEEDED, State.DEAD, State.CANCELLED)


@click.command()
@query
@outputs
def command(words: tuple[str, ...], as_json: bool, url: str | None) -> None:
    """Count the jobs of each queue by state. Costs the same for ten jobs as for ten million.

    QUERY: queue: (its name), state: (queues with such jobs), or part of the name.

    With --json, one line per queue: {"queue": "default", "ready": 3, …}. A number that the broker does not know is
    – or null.

    Ended jobs are counted while they are kept: an hour unless the task says otherwise, dead ones 30 days.
    """
    query = query_of("queues", ("queue", "state"), words)
    with opened(url) as broker:
        found = numbers(broker)
    items = [
        ({"queue": queue, **each}, [queue, *map(show.number, each.values())])
        for queue in sorted(found.queues)
        if fits(query, [queue], queue=[queue])
        and (not query.states or any((queue, state) in found.counts for state in query.states))
        for each in [{state.value: found.of(queue, state) for state in SHOWN}]
    ]
    show.items(("queue", *SHOWN), items, "no such queues" if words else "no jobs", as_json=as_json, right=SHOWN)
