"""`longboat schedules`: list, add, pause, resume, run now, remove."""

from __future__ import annotations

import time
from typing import Any

import click

from longboat.cli import acting, show
from longboat.cli.address import opened
from longboat.cli.enqueue import app_for
from longboat.cli.fail import USAGE, CommandFailed
from longboat.cli.group import Group, similar
from longboat.cli.params import outputs, query, reason_option, together, url_option
from longboat.cli.query import fits, query_of
from longboat.contract.broker import Broker
from longboat.errors import BadArguments
from longboat.observe.words import span
from longboat.operate import scheduler
from longboat.operate.search import Query


@click.group(cls=Group)
def command() -> None:
    """Schedules: tasks that are enqueued again and again.

    \b
    longboat schedules add reports.send "0 7 * * 1-5" --tz Europe/Berlin
    longboat schedules add pings.send "every 30s" --args '[1]'
    longboat schedules list
    longboat schedules run NAME

    Schedules in an app's code are fired by workers that have that code, those added here by any worker.
    """


@command.command("list")
@query
@outputs
def list_(words: tuple[str, ...], as_json: bool, url: str | None) -> None:
    """List schedules and when each is due next.

    QUERY: queue: and task: (of their jobs), or part of the name or the rule.
    """
    query = query_of("schedules", ("queue", "task"), words)
    now = time.time()
    with opened(url) as broker:
        found = [each for each in scheduler.listed(broker, now) if _fits(query, each)]
    none = "no such schedules" if words else "no schedules"
    items = [_shown(each, now) for each in found]
    show.items(["name", "rule", "tz", "task", "next", "last job"], items, none, as_json=as_json, drop=("last job", "tz"))


def _fits(query: Query, each: scheduler.Listed) -> bool:
    of = each.schedule
    return fits(query, [each.name, of.rule if of else ""], queue=[of.queue] if of else [], task=[of.task] if of else [])


def _shown(each: scheduler.Listed, now: float) -> tuple[dict[str, Any], list[str]]:
    """As a document and as a row."""
    args, row, when = None, ["", "", ""], ""
    if (of := each.schedule) is not None:
        args, row, when = show.decoded(of.payload), [of.rule, of.tz, of.task], "paused" if of.paused else ""
    when = when or each.problem or (f"in {span(each.due[0] - now)}" if each.due else "never")
    return each.data(args), [each.name, *row, when, each.last]


@command.command()
@click.argument("task")
@click.argument("rule")
@click.option("--name", metavar="NAME", help="The schedule's name. Default: the task's name.")
@click.option("--tz", default="UTC", show_default=True, metavar="ZONE", help="The rule's time zone, such as Europe/Berlin.")
@click.option("--args", "arguments", default="{}", metavar="JSON", help="Arguments: a JSON list, or a JSON map by name.")
@click.option("--queue", metavar="NAME", help="The queue of the jobs.")
@click.option(
    "--missed",
    type=click.Choice(["skip", "once", "all"]),
    default="once",
    show_default=True,
    help="How many of the ticks that no worker was there for to make up for: none, one or all.",
)
@click.option(
    "--overlap",
    type=click.Choice(["allow", "skip", "wait"]),
    default="allow",
    show_default=True,
    help="While the previous job has not ended: enqueue another, skip the tick, or let the next job wait.",
)
@url_option
def add(
    task: str,
    rule: str,
    name: str | None,
    tz: str,
    arguments: str,
    queue: str | None,
    missed: str,
    overlap: str,
    url: str | None,
) -> None:
    """Enqueue TASK by RULE from now on: a five-field cron expression, or "every 30s".

    The app (see `longboat --help`) checks the arguments and supplies queue, priority, retention and limits. If no app is
    found, and with --url, they are those that workers have told of the task.
    """
    import json

    from longboat.app import scheduled

    try:
        given = json.loads(arguments)
    except ValueError as error:
        raise click.UsageError(f"--args is not JSON: {error}") from None
    if not isinstance(given, list | dict):
        raise click.UsageError("--args must be a list or a map.")
    options: Any = {"name": name, "tz": tz, "missed": missed, "overlap": overlap}
    options.update({"args": given} if isinstance(given, list) else {"kwargs": given})
    with opened(url) as broker, app_for(url) as app:
        its = app.named(task)
        if queue:
            its = its.using(queue=queue)
        try:
            made = scheduled(its, rule, options, declared=False)
        except BadArguments as error:
            raise CommandFailed(str(error), "Give them by --args: a JSON list, or a JSON map by name.", USAGE) from error
        if not scheduler.add(broker, made):
            raise CommandFailed(f"there is already a schedule {made.name!r}", "Give this one another --name.")
        acting.told(broker, "schedule-add", f"schedule {made.name} added", None)
    click.echo(f"{made.name}: {made.explain()}")


_name = together(click.argument("name"), reason_option, url_option)


@command.command()
@_name
def pause(name: str, reason: str | None, url: str | None) -> None:
    """Pause the schedule NAME until it is resumed."""
    _pause(name, reason, url, True)


@command.command()
@_name
def resume(name: str, reason: str | None, url: str | None) -> None:
    """Resume the schedule NAME. Ticks that fell in the pause are not made up for."""
    _pause(name, reason, url, False)


@command.command()
@_name
def run(name: str, reason: str | None, url: str | None) -> None:
    """Enqueue a job of the schedule NAME now, in addition to its ticks, and print the job's id."""
    with opened(url) as broker:
        click.echo(job_id := str(_known(broker, scheduler.run_now(broker, name, time.time()), name)))
        acting.told(broker, "schedule-run", f"schedule {name}: job {job_id} enqueued", reason, [job_id])


@command.command()
@_name
def remove(name: str, reason: str | None, url: str | None) -> None:
    """Remove the schedule NAME. One in an app's code comes back with the next worker: pause it instead."""
    with opened(url) as broker:
        _known(broker, scheduler.remove(broker.kv, name), name)
        acting.told(broker, "schedule-remove", f"schedule {name} removed", reason)
    click.echo(f"{name}: removed")


def _pause(name: str, reason: str | None, url: str | None, paused: bool) -> None:
    with opened(url) as broker:
        _known(broker, scheduler.pause(broker.kv, name, paused, time.time()), name)
        became = "paused" if paused else "resumed"
        acting.told(broker, f"schedule-{'pause' if paused else 'resume'}", f"schedule {name} {became}", reason)
    click.echo(f"{name}: {became}")


def _known(broker: Broker, found: str | bool | None, name: str) -> str | bool:
    if not found:
        near = similar(name, [each for each, _ in scheduler.stored(broker.kv)])
        meant = f"; did you mean {near!r}?" if near else ""
        raise CommandFailed(f"there is no schedule {name!r}{meant}", "See `longboat schedules list`.")
    return found
