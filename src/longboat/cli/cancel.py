"""`longboat cancel`: by id, or all of a queue, a task or a flow."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from longboat.cli.fail import DONE, FAILED
from longboat.cli.params import changes, url_option
from longboat.core.job import State

if TYPE_CHECKING:
    from longboat.contract.broker import Broker
    from longboat.operate.bulk import Chosen
    from longboat.operate.search import Query

LIVING = (State.SCHEDULED, State.WAITING, State.READY, State.RUNNING)


@click.command()
@click.argument("ids", nargs=-1, metavar="[ID]...")
@click.option("--queue", metavar="NAME", help="All of this queue that have not ended.")
@click.option("--task", metavar="NAME", help="All of this task that have not ended.")
@click.option("--flow", metavar="ID", help="All of this flow that have not ended.")
@changes
@url_option
def command(
    ids: tuple[str, ...], queue: str | None, task: str | None, flow: str | None, yes: bool, dry_run: bool, url: str | None
) -> int:
    """Cancel jobs, also while they run: a running one is told within about a second, and cut off if it does not end.

    By ids, which prints a line for each; or those of a --queue, a --task (or both), or a --flow, which asks before.

    Exit status: 0 all were cancelled or asked to stop, 1 some of the ids were unknown or had ended.
    """
    if sum((bool(ids), bool(queue or task), bool(flow))) != 1:
        raise click.UsageError("Say which: one ID or several, or --queue and --task, or --flow.")
    from longboat.cli import many
    from longboat.cli.address import opened
    from longboat.operate.search import Query

    with opened(url) as broker:
        if ids:
            return _by_ids(broker, ids)
        query = Query(LIVING, queue=queue or "", task=task or "")
        chosen = _of_flow(broker, query, flow) if flow else many.choose(broker, query)
        return many.carry_out(broker, "cancel", query, chosen, yes=yes, dry_run=dry_run)


def _by_ids(broker: Broker, ids: tuple[str, ...]) -> int:
    status = DONE
    affected = set(broker.inspector.cancel(ids))
    for job_id, view in zip(ids, broker.inspector.find(ids), strict=True):
        if view is None:
            became, status = "unknown", FAILED
        elif view.state is State.RUNNING:
            became = "running, asked to stop"
        elif job_id in affected:
            became = "cancelled"
        else:
            became, status = f"had ended: {view.state.value}", FAILED
        click.echo(f"{job_id}  {became}")
    return status


def _of_flow(broker: Broker, query: Query, flow_id: str) -> Chosen:
    """Last ones first, so that none starts meanwhile."""
    from longboat.cli.many import named
    from longboat.client.flows import members, plan

    plan(broker.kv, flow_id)
    ids = [job_id for some in members(broker.kv, flow_id) for job_id, _ in some]
    return named(broker, query, ids[::-1])
