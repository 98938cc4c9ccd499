"""`longboat workers`: who works here, and telling one to be quiet or to stop."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from longboat.cli.fail import DONE, FAILED
from longboat.cli.params import json_option, url_option
from longboat.cli.words import Listing

if TYPE_CHECKING:
    from longboat.contract.broker import Broker
    from longboat.observe.history import WorkerRecord
    from longboat.operate.commands import Command
    from longboat.operate.search import Query

COLUMNS = ("name", "state", "queues", "running", "slots", "ended", "memory", "up", "version")


@click.group(cls=Listing)
@json_option
@url_option
@click.pass_context
def command(ctx: click.Context, as_json: bool, url: str | None) -> None:
    """List the workers that have shown themselves in the last ten seconds, or tell one what to do.

    QUERY: queue: (those that take its jobs), task: (those that run such a job), worker: (the name), or part of the name.

    With --json a line a worker, with the jobs that run in it, the longest first (at most 100), and since when.

    \b
    longboat workers
    longboat workers queue:mail
    longboat workers quiet web-1:4711
    longboat workers stop web-1:4711
    """
    from longboat.cli.words import filter_of

    if ctx.invoked_subcommand is None:
        _list(filter_of(ctx.args, ("queue", "task", "worker"), "workers"), as_json, url)


_names = click.argument("names", nargs=-1, required=True, metavar="NAME...")


@command.command()
@_names
@url_option
def quiet(names: tuple[str, ...], url: str | None) -> int:
    """Let workers take no more jobs; what runs goes on. They heed it within about a second.

    A worker is quiet until `longboat workers resume`, or its end: one that starts in its place takes jobs.

    Exit status: 0 done, 1 some of the names are no worker's.
    """
    from longboat.operate.commands import Command

    return _tell(names, Command.QUIET, "takes no more jobs", url)


@command.command()
@_names
@url_option
def resume(names: tuple[str, ...], url: str | None) -> int:
    """Let quiet workers take jobs again.

    Exit status: 0 done, 1 some of the names are no worker's.
    """
    from longboat.operate.commands import Command

    return _tell(names, Command.RESUME, "takes jobs again", url)


@command.command()
@_names
@click.option("--yes", is_flag=True, help="Do not ask.")
@url_option
def stop(names: tuple[str, ...], yes: bool, url: str | None) -> int:
    """Stop workers as TERM does: they finish what runs within their grace, hand back the rest, and leave. Asks first.

    No other is started in the place of one: with the last of its worker processes, `longboat worker` ends. What
    started that (systemd, Kubernetes) may start it again.

    Exit status: 0 done, 1 some of the names are no worker's.
    """
    from longboat.cli.asking import agreed
    from longboat.operate.commands import Command

    agreed(f"stop {', '.join(names)}", yes=yes, dry_run=False)
    return _tell(names, Command.STOP, "stops", url)


def _tell(names: tuple[str, ...], command: Command, becomes: str, url: str | None) -> int:
    from longboat.cli.address import opened

    with opened(url) as broker:
        unknown = [name for name in names if not _told(broker, name, command, becomes)]
    return FAILED if unknown else DONE


def _told(broker: Broker, name: str, command: Command, becomes: str) -> bool:
    from longboat.operate.commands import give

    told = give(broker.kv, name, command)
    click.echo(f"{name}  {becomes}" if told else f"{name}  no such worker", err=not told)
    return told


def _list(query: Query, as_json: bool, url: str | None) -> None:
    from longboat.cli import show
    from longboat.cli.address import opened
    from longboat.observe.history import workers

    with opened(url) as broker:
        records = [record for record in workers(broker.kv) if _meant(query, record)]
    if as_json:
        for record in records:
            click.echo(show.as_json(record))
    elif records:
        show.table(
            COLUMNS, [row(record) for record in records], right=frozenset({"running", "slots", "ended", "memory", "up"})
        )
    else:
        click.echo("no workers")


def _meant(query: Query, record: WorkerRecord) -> bool:
    from longboat.operate.search import same, within

    return (
        (not query.worker or same(query.worker, record.name))
        and (not query.queue or not record.queues or any(same(query.queue, queue) for queue in record.queues))
        and (not query.task or any(same(query.task, task) for _, task, _ in record.running))
        and all(within(text, record.name) for text in query.texts)
    )


def row(record: WorkerRecord) -> list[str]:
    """A worker as a row of COLUMNS."""
    import time

    from longboat.cli import show

    queues = ",".join(record.queues) or "all"
    up = show.span(time.time() - record.started)
    memory = f"{record.memory / 1e6:.0f} MB"
    return [
        record.name,
        record.state,
        queues,
        f"{len(record.running)}",
        f"{sum(record.slots.values())}",
        f"{record.ended:,}",
        memory,
        up,
        record.version,
    ]
