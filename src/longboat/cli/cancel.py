"""`longboat cancel`: by id, or all of a queue, a task or a flow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from longboat.cli import acting, many
from longboat.cli.address import looked_at, opened
from longboat.cli.asking import jobs
from longboat.cli.fail import DONE, FAILED
from longboat.cli.ids import wholes
from longboat.cli.params import changes, queue_option, task_option, url_option
from longboat.contract.capabilities import Capability
from longboat.core.job import State
from longboat.operate.audit import named
from longboat.operate.bulk import ACTIONS
from longboat.operate.search import Query


@click.command()
@click.argument("ids", nargs=-1, metavar="[ID]...")
@queue_option
@task_option
@click.option("--flow", metavar="ID", help="Only jobs of this flow.")
@changes
@url_option
def command(ids: tuple[str, ...], queue: str | None, task: str | None, flow: str | None, url: str | None, **how: Any) -> int:
    """Cancel jobs that have not ended. A running job is told within about a second, and stopped if it does not end.

    Name jobs by their ids, which prints a line for each; or by --queue, --task (or both) or --flow, which asks first.

    RabbitMQ without a store cannot find a job by its id: the cancellation is kept for 32 days, and the first worker to come
    to the job ends it. Whether it had ended, or ever was, is not told. With --queue and --task all such jobs are cancelled
    that were enqueued before now; how many is not known.

    Exit status: 0 all were cancelled or told to stop, 1 some ids were unknown or had ended.
    """
    if sum((bool(ids), bool(queue or task), bool(flow))) != 1:
        raise click.UsageError("Say which jobs: one or more IDs, or --queue and --task, or --flow.")
    if ids:
        return _by_ids(ids, url, how["reason"])
    query = Query(ACTIONS["cancel"].states, queue=queue or "", task=task or "")
    return many.run("cancel", query, flow=flow or "", url=url, **how)


def _by_ids(ids: Sequence[str], url: str | None, reason: str | None) -> int:
    status = DONE
    with opened(url) as broker:
        ids = wholes(broker, ids)
        affected = broker.inspector.cancel(ids)
        if affected:
            acting.told(broker, "cancel", named(f"{jobs(len(affected))} cancelled", affected), reason, affected)
        if Capability.CANCEL not in broker.capabilities:
            for job_id in ids:
                click.echo(f"{job_id}  cancelled, unless it has ended: the first worker to come to it ends it")
            return DONE
        views = broker.inspector.find(ids)
    for job_id, view in zip(ids, views, strict=True):
        if view is None:
            became, status = "unknown", FAILED
        elif view.state is State.RUNNING:
            became = "running, told to stop"
        elif job_id in affected:
            became = "cancelled"
        else:
            became, status = f"had ended: {view.state.value}", FAILED
        click.echo(f"{job_id}  {became}")
    if None in views:
        click.echo(f"Looked at {looked_at()}", err=True)
    return status
