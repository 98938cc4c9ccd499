"""`longboat flows`: list, show, cancel."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from longboat.cli.params import json_option, url_option
from longboat.cli.words import query_argument

if TYPE_CHECKING:
    from longboat.contract.broker import Broker
    from longboat.operate.search import Query
    from longboat.tasks.flow import FlowStatus, Plan

MOST = 10_000
"""Flows that a query looks at, the newest."""


@click.group()
def command() -> None:
    """Flows: jobs that depend on each other.

    \b
    longboat flows list
    longboat flows show ID
    longboat flows cancel ID
    """


@command.command("list")
@query_argument
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, metavar="N", help="At most so many.")
@json_option
@url_option
def list_(words: tuple[str, ...], limit: int, as_json: bool, url: str | None) -> None:
    """List flows, the newest first.

    QUERY: flow: (the id), task: (the one that it ends with), state: (those that have such jobs), or part of id or task.
    """
    import time

    from longboat.cli import show
    from longboat.cli.address import opened
    from longboat.cli.words import filter_of

    query = filter_of(words, ("flow", "task", "state"), "flows")
    rows: list[list[str]] = []
    with opened(url) as broker:
        for flow_id, plan, found in itertools.islice(_meant(broker, query, MOST if words else limit), limit):
            counts = {state.value: count for state, count in found.jobs.items()}
            if as_json:
                line = {"id": flow_id, "name": plan.name, "begun": plan.begun, "jobs": counts, "failed": found.failed}
                click.echo(show.as_json(line))
            said = ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
            rows.append([flow_id, plan.name, f"{show.span(time.time() - plan.begun)} ago", said])
    if not as_json:
        if rows:
            show.table(["id", "ends with", "begun", "jobs"], rows)
        else:
            click.echo("no such flows" if words else "no flows")


def _meant(broker: Broker, query: Query, most: int) -> Iterator[tuple[str, Plan, FlowStatus]]:
    """The newest first."""
    from longboat.client.flows import newest, status
    from longboat.operate.search import same, within

    for flow_id, plan in newest(broker.kv, most):
        if (
            (query.flow and not same(query.flow, flow_id))
            or (query.task and not same(query.task, plan.name))
            or not all(within(text, flow_id) or within(text, plan.name) for text in query.texts)
        ):
            continue
        found = status(broker, flow_id)
        if not query.states or any(found.jobs[state] for state in query.states):
            yield flow_id, plan, found


@command.command("show")
@click.argument("id")
@json_option
@url_option
def show_(id: str, as_json: bool, url: str | None) -> None:
    """The jobs of the flow ID, parents first."""
    from longboat.cli import show
    from longboat.cli.address import opened
    from longboat.client.flows import members, plan

    with opened(url) as broker:
        plan(broker.kv, id)
        for some in members(broker.kv, id):
            views = broker.inspector.find([job_id for job_id, _ in some])
            if as_json:
                for (job_id, task), view in zip(some, views, strict=True):
                    click.echo(show.as_json(show.plain(view) if view else {"id": job_id, "task": task, "state": None}))
                continue
            rows = [
                show.row(view) if view else [job_id, "forgotten", "", task, "", "", ""]
                for (job_id, task), view in zip(some, views, strict=True)
            ]
            show.table(show.COLUMNS, rows)


@command.command()
@click.argument("id")
@url_option
def cancel(id: str, url: str | None) -> None:
    """Cancel all jobs of the flow ID that have not ended, also those that run."""
    from longboat.cli.address import opened
    from longboat.client import flows

    with opened(url) as broker:
        click.echo(f"cancelled {flows.cancel(broker, id)} job(s)")
