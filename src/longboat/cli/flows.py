"""`longboat flows`: list, show, cancel."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from longboat.cli import acting, show
from longboat.cli.address import opened
from longboat.cli.asking import jobs
from longboat.cli.group import Group
from longboat.cli.ids import whole_flow
from longboat.cli.params import limit_option, outputs, query, reason_option, url_option
from longboat.cli.query import fits, query_of
from longboat.client import flows
from longboat.observe.words import span
from longboat.operate.search import Query

if TYPE_CHECKING:
    from longboat.contract.broker import Broker

MOST = 10_000
"""The newest flows, which a query searches."""


@click.group(cls=Group)
def command() -> None:
    """Flows: jobs that depend on each other.

    \b
    longboat flows list
    longboat flows show ID
    longboat flows cancel ID
    """


@command.command("list")
@query
@limit_option(20)
@outputs
def list_(words: tuple[str, ...], limit: int, as_json: bool, url: str | None) -> None:
    """List flows, newest first.

    QUERY: flow: (the id), task: (the last task), state: (flows with such jobs), or part of the id or the task.
    """
    query = query_of("flows", ("flow", "task", "state"), words)
    with opened(url) as broker:
        found = itertools.islice(_found(broker, query, MOST if words else limit), limit)
        none = "no such flows" if words else "no flows"
        show.items(["id", "ends with", "started", "jobs"], found, none, as_json=as_json)


def _found(broker: Broker, query: Query, most: int) -> Iterator[tuple[dict[str, Any], list[str]]]:
    """Newest first, each as a document and as a row."""
    for flow_id, plan in flows.newest(broker.kv, most):
        if not fits(query, [flow_id, plan.name], flow=[flow_id], task=[plan.name]):
            continue
        found = flows.status(broker, flow_id)
        if query.states and not any(found.jobs[state] for state in query.states):
            continue
        counts = {state.value: count for state, count in found.jobs.items()}
        document = {"id": flow_id, "name": plan.name, "started": plan.begun, "jobs": counts, "failed": found.failed}
        document["unknown"] = found.unknown
        said = ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
        if found.unknown:
            said += f"{', ' if said else ''}{found.unknown} not known to have ended"
        if found.unreadable:
            said += f", {flows.UNREADABLE}" if said else flows.UNREADABLE
        yield document, [flow_id, plan.name, f"{span(time.time() - plan.begun)} ago", said]


@command.command("show")
@click.argument("id")
@outputs
def show_(id: str, as_json: bool, url: str | None) -> None:
    """Show the jobs of the flow ID, parents first."""
    with opened(url) as broker:
        flow_id = whole_flow(broker, id)
        flows.known(broker.kv, flow_id)  # raises where there is none
        for some in flows.seen(broker, flow_id):
            found = [(show.plain(each.view), show.row(each.view)) if each.view else _unseen(each) for each in some]
            show.items(show.COLUMNS, found, "no jobs", as_json=as_json, right=show.RIGHT, drop=show.DROP)


def _unseen(job: flows.Seen) -> tuple[dict[str, Any], list[str]]:
    """One that is forgotten, or that this broker does not look up."""
    said = {"id": job.id, "task": job.task, "state": None if job.forgotten or job.state is None else job.state.value}
    return said, [job.id, "forgotten" if job.forgotten else job.state.value if job.state else "–", "", job.task, "", "", ""]


@command.command()
@click.argument("id")
@reason_option
@url_option
def cancel(id: str, reason: str | None, url: str | None) -> None:
    """Cancel all jobs of the flow ID that have not ended, including running ones."""
    with opened(url) as broker:
        flow_id = whole_flow(broker, id)
        ids = flows.cancel(broker, flow_id)
        click.echo(f"cancelled {jobs(len(ids))}")
        acting.told(broker, "flow-cancel", f"{jobs(len(ids))} of flow {flow_id} cancelled", reason, ids)
