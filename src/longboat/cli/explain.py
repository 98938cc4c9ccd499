"""`longboat explain`: why a job is not running, or why a queue is slow."""

from __future__ import annotations

from typing import Any

import click

from longboat.cli import show
from longboat.cli.address import looked_at, opened
from longboat.cli.fail import FAILED, CommandFailed
from longboat.cli.ids import whole
from longboat.cli.params import outputs
from longboat.client.inbox import not_found
from longboat.contract.broker import Broker
from longboat.core.clock import SYSTEM
from longboat.core.text import each_line_escaped
from longboat.observe.drain import drain, drains
from longboat.observe.numbers import numbers
from longboat.operate.explain import explain
from longboat.operate.why_slow import named, why_slow


@click.command()
@click.argument("id", required=False)
@click.option("--queue", metavar="NAME", help="Explain why this queue is slow, instead of a job.")
@outputs
def command(id: str | None, queue: str | None, as_json: bool, url: str | None) -> None:
    """Explain in one line why the job ID is not running: scheduled, behind others, paused, waiting for a job, at a limit.

    With --queue, explain why a queue is slow: what holds its jobs, how old the oldest is, which workers serve it, how many
    jobs come and end, and how long until it is empty.

    RabbitMQ without a store cannot look up a job: told is what is known of it, and what goes on in each queue.

    Exit status: 0 explained, 1 there is no such job or queue.
    """
    if (id is None) == (queue is None):
        raise click.UsageError("name either a job, by its ID, or a queue, by --queue.")
    with opened(url) as broker:
        told = _job(broker, id) if id is not None else _queue(broker, queue or "")
    click.echo(show.to_json(told) if as_json else each_line_escaped(told["why"]))


def _job(broker: Broker, id: str) -> dict[str, Any]:
    job_id = whole(broker, id)
    why = explain(broker, job_id, looked_at(), thorough=True)
    if why is None:
        raise not_found(job_id)
    return {"id": job_id, "why": why}


def _queue(broker: Broker, queue: str) -> dict[str, Any]:
    found = numbers(broker)
    rates = drains(broker, found, SYSTEM.now())
    if queue not in rates and queue not in named(broker):
        raise CommandFailed(f"there is no queue {queue!r}: it has no jobs", "See `longboat queues`.", FAILED)
    return why_slow(
        broker, queue, found, rates.get(queue) or drain(found, queue, None, 0.0, 0.0), f" at {looked_at()}"
    ).data()
