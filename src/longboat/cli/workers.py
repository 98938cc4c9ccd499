"""`longboat workers`: the living workers, and telling one to go quiet or to stop."""

from __future__ import annotations

import time
from collections.abc import Sequence

import click

from longboat.cli import acting, show
from longboat.cli.address import nothing, opened
from longboat.cli.asking import agreed
from longboat.cli.fail import DONE, FAILED, WAITED, CommandFailed
from longboat.cli.params import outputs, query, reason_option, together, url_option, yes_option
from longboat.cli.query import Listing, fits, query_of
from longboat.observe import history
from longboat.observe.history import WorkerRecord
from longboat.observe.words import span
from longboat.operate.commands import Command, give
from longboat.operate.search import Query
from longboat.operate.stacks import latest

COLUMNS = ("name", "state", "queues", "running", "slots", "ended", "memory", "up", "version")
PATIENCE = 10.0
"""Seconds within which a worker has told its stacks."""
RIGHT = ("running", "slots", "ended", "memory", "up")
DROP = ("version", "slots", "ended", "memory", "up")


@click.group(cls=Listing)
@outputs
@click.pass_context
def command(ctx: click.Context, as_json: bool, url: str | None) -> None:
    """List the workers that have sent a heartbeat in the last ten seconds, or tell one what to do.

    QUERY: queue: (workers that serve it), task: (workers running such a job), worker: (the name), or part of the name.

    With --json, one line per worker, including its running jobs (at most 100, the longest-running first) and since when
    each has been running.

    \b
    longboat workers
    longboat workers queue:mail
    longboat workers quiet web-1:4711
    longboat workers stop web-1:4711
    """
    if ctx.invoked_subcommand is None:
        _list(ctx.args, as_json, url)
    else:
        ctx.default_map = {ctx.invoked_subcommand: {"as_json": as_json, "url": url}}


@command.command("list")
@query
@outputs
def list_(words: tuple[str, ...], as_json: bool, url: str | None) -> None:
    """List the workers that QUERY finds, as `longboat workers` does."""
    _list(words, as_json, url)


def _list(words: Sequence[str], as_json: bool, url: str | None) -> None:
    wanted = query_of("workers", ("queue", "task", "worker"), words)
    with opened(url) as broker:
        found = [(record, row(record)) for record in history.workers(broker.kv) if _fits(wanted, record)]
    show.items(COLUMNS, found, "no workers", as_json=as_json, right=RIGHT, drop=DROP)


_names = together(click.argument("names", nargs=-1, required=True, metavar="NAME..."), reason_option, url_option)


@command.command()
@_names
def quiet(names: tuple[str, ...], reason: str | None, url: str | None) -> int:
    """Tell workers to take no more jobs. Running jobs go on. Workers notice within about a second.

    A worker stays quiet until `longboat workers resume` or until it ends; one started in its place takes jobs.

    Exit status: 0 done, 1 some names are not those of living workers.
    """
    return _tell(names, Command.QUIET, "quiet, takes no more jobs", reason, url)


@command.command()
@_names
def resume(names: tuple[str, ...], reason: str | None, url: str | None) -> int:
    """Tell quiet workers to take jobs again.

    Exit status: 0 done, 1 some names are not those of living workers.
    """
    return _tell(names, Command.RESUME, "resumed, takes jobs again", reason, url)


@command.command()
@click.argument("name")
@outputs
def stack(name: str, as_json: bool, url: str | None) -> None:
    """Show where in its code each running job of worker NAME is now: coroutines, threads and, on Linux, child processes."""
    with opened(url) as broker:
        record = next((each for each in history.workers(broker.kv) if each.name == name), None)
        if record is None or not give(broker.kv, name, Command.STACKS):
            raise CommandFailed(f"no such worker: {name}", "`longboat workers` lists them.")
        before, end = latest(broker.kv, record.id), time.monotonic() + PATIENCE
        while (found := latest(broker.kv, record.id)) is None or found == before:
            if time.monotonic() >= end:
                raise CommandFailed(
                    f"worker {name} did not answer within {PATIENCE:g} s", "Is it of an older version?", WAITED
                )
            time.sleep(0.1)
    for job in found.jobs:
        click.echo(show.to_json(job) if as_json else f"{job.id} {job.task}\n{job.stack.rstrip() or '  it cannot be told'}\n")
    if not found.jobs and not as_json:
        nothing("no running jobs")


@command.command()
@yes_option
@_names
def stop(names: tuple[str, ...], reason: str | None, yes: bool, url: str | None) -> int:
    """Stop workers as TERM does: they finish running jobs within their grace period, hand back the rest, and exit.

    Asks first. No worker process is started in place of a stopped one; when the last one has stopped, `longboat worker`
    exits. Whatever started that (systemd, Kubernetes) may start it again.

    Exit status: 0 done, 1 some names are not those of living workers.
    """
    agreed(f"stop {', '.join(names)}", yes=yes)
    return _tell(names, Command.STOP, "stopping", reason, url)


def _tell(names: tuple[str, ...], command: Command, becomes: str, reason: str | None, url: str | None) -> int:
    status = DONE
    with opened(url) as broker:
        for name in names:
            told = give(broker.kv, name, command)
            status = status if told else FAILED
            click.echo(f"{name}  {becomes if told else 'no such worker'}", err=not told)
            if told:
                acting.told(broker, f"worker-{command.value}", f"worker {name}: {becomes}", reason)
    return status


def _fits(query: Query, record: WorkerRecord) -> bool:
    queues = record.queues or [query.queue]  # none named: it serves every queue
    return fits(query, [record.name], worker=[record.name], queue=queues, task=[task for _, task, _ in record.running])


def row(record: WorkerRecord) -> list[str]:
    """A worker as a row of COLUMNS."""
    slots, running = sum(record.slots.values()), len(record.running)
    memory, up = f"{record.memory / 1e6:.0f} MB", span(time.time() - record.started)
    queues = ",".join(record.queues) or "all"
    return [record.name, record.state, queues, str(running), str(slots), f"{record.ended:,}", memory, up, record.version]
