"""`longboat queues`: counts by queue and state."""

from __future__ import annotations

import click

from longboat.cli.params import json_option, url_option
from longboat.cli.words import query_argument
from longboat.core.job import State

SHOWN = (State.READY, State.SCHEDULED, State.WAITING, State.RUNNING, State.SUCCEEDED, State.DEAD, State.CANCELLED)


@click.command()
@query_argument
@json_option
@url_option
def command(words: tuple[str, ...], as_json: bool, url: str | None) -> None:
    """Count the jobs of each queue by state. Costs the same for ten jobs and for ten million.

    QUERY: queue: (its name), state: (those that have such jobs), or part of the name.

    With --json a line a queue: {"queue": "default", "ready": 3, …}.

    Ended jobs are counted as long as they are kept: an hour unless the task says otherwise, dead ones 30 days.
    """
    from longboat.cli import show
    from longboat.cli.address import opened
    from longboat.cli.words import filter_of
    from longboat.operate.search import same, within

    query = filter_of(words, ("queue", "state"), "queues")
    with opened(url) as broker:
        counts = broker.inspector.counts()
    queues = [
        queue
        for queue in sorted({queue for queue, _ in counts})
        if (not query.queue or same(query.queue, queue))
        and (not query.states or any((queue, state) in counts for state in query.states))
        and all(within(text, queue) for text in query.texts)
    ]
    if as_json:
        for queue in queues:
            click.echo(show.as_json({"queue": queue, **{state.value: counts.get((queue, state), 0) for state in SHOWN}}))
    elif queues:
        rows = [[queue, *(f"{counts.get((queue, state), 0):,}" for state in SHOWN)] for queue in queues]
        names = [state.value for state in SHOWN]
        show.table(["queue", *names], rows, right=frozenset(names))
    else:
        click.echo("no such queues" if words else "no jobs")
