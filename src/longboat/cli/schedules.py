"""`longboat schedules`: list, add, pause, resume, run now, remove."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from longboat.cli.fail import CommandFailed
from longboat.cli.params import json_option, url_option
from longboat.cli.words import query_argument

if TYPE_CHECKING:
    from longboat.operate.search import Query
    from longboat.tasks.schedule import Schedule


@click.group()
def command() -> None:
    """Schedules: tasks that are enqueued again and again.

    \b
    longboat schedules add reports.send "0 7 * * 1-5" --tz Europe/Berlin
    longboat schedules add pings.send "every 30s" --args '[1]'
    longboat schedules list
    longboat schedules run NAME

    Those of an app's code are fired by workers that have that code, those added here by any worker.
    """


@command.command("list")
@query_argument
@json_option
@url_option
def list_(words: tuple[str, ...], as_json: bool, url: str | None) -> None:
    """List schedules, with when they are due next.

    QUERY: queue: and task: (of their jobs), or part of the name or the rule.
    """
    import time

    from longboat.cli import show
    from longboat.cli.address import opened
    from longboat.cli.words import filter_of
    from longboat.operate import scheduler

    query = filter_of(words, ("queue", "task"), "schedules")
    with opened(url) as broker:
        found = [schedule for schedule in scheduler.schedules(broker.kv) if _meant(query, schedule)]
        fired = scheduler.last_fired(broker.kv, [schedule.name for schedule in found])
    now = time.time()
    rows = []
    for schedule in found:
        due = None if schedule.paused else schedule.next(now)[0]
        last = fired[schedule.name].last if schedule.name in fired else ""
        if as_json:
            plain = {name: getattr(schedule, name) for name in schedule.__struct_fields__ if name != "payload"}
            args = show.decoded(schedule.payload)
            click.echo(show.as_json({**plain, "args": args, "next": due, "last": last or None}))
        when = "paused" if due is None else f"in {show.span(due - now)}"
        rows.append([schedule.name, schedule.rule, schedule.tz, schedule.task, when, last])
    if not as_json:
        if rows:
            show.table(["name", "rule", "tz", "task", "next", "last job"], rows)
        else:
            click.echo("no such schedules" if words else "no schedules")


def _meant(query: Query, schedule: Schedule) -> bool:
    from longboat.operate.search import same, within

    return (
        (not query.queue or same(query.queue, schedule.queue))
        and (not query.task or same(query.task, schedule.task))
        and all(within(text, schedule.name) or within(text, schedule.rule) for text in query.texts)
    )


@command.command()
@click.argument("task")
@click.argument("rule")
@click.option("--name", metavar="NAME", help="The task's name unless given.")
@click.option("--tz", default="UTC", show_default=True, metavar="ZONE", help="The rule's time zone, such as Europe/Berlin.")
@click.option("--args", "arguments", default="{}", metavar="JSON", help="A list of positional or a map of named arguments.")
@click.option("--queue", metavar="NAME", help="The jobs' queue.")
@click.option("--missed", type=click.Choice(["skip", "once", "all"]), default="once", show_default=True)
@click.option("--overlap", type=click.Choice(["allow", "skip", "wait"]), default="allow", show_default=True)
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
    """Enqueue TASK by RULE from now on: a cron expression of five fields, or "every 30s".

    --missed: of ticks at which no worker was there, make up for none, one or all. --overlap: while the job before has not
    ended, allow another, skip the tick, or let the next job wait.
    """
    import json

    from longboat.cli.address import opened
    from longboat.operate import scheduler
    from longboat.tasks.arguments import unnamed
    from longboat.tasks.schedule import Schedule

    try:
        given = json.loads(arguments)
    except ValueError as error:
        raise click.UsageError(f"--args is no JSON: {error}") from None
    if not isinstance(given, list | dict):
        raise click.UsageError("--args must be a list or a map.")
    payload = unnamed(given, {}, task) if isinstance(given, list) else unnamed((), given, task)
    made = Schedule(name=name or task, rule=rule, tz=tz, task=task, payload=payload, missed=missed, overlap=overlap)  # type: ignore[arg-type]
    made.queue = queue or made.queue
    with opened(url) as broker:
        if not scheduler.add(broker.kv, made):
            raise CommandFailed(f"there is a schedule {made.name!r} already", "Give this one another --name.")
    click.echo(f"{made.name}: {made.explain()}")


@command.command()
@click.argument("name")
@url_option
def pause(name: str, url: str | None) -> None:
    """Fire the schedule NAME no more until it is resumed."""
    _pause(name, url, True)


@command.command()
@click.argument("name")
@url_option
def resume(name: str, url: str | None) -> None:
    """Fire the schedule NAME again. What fell in the pause is not made up for."""
    _pause(name, url, False)


@command.command()
@click.argument("name")
@url_option
def run(name: str, url: str | None) -> None:
    """Enqueue a job of the schedule NAME now, beside its ticks; prints the job's id."""
    import time

    from longboat.cli.address import opened
    from longboat.core.job import new_id
    from longboat.operate import scheduler

    with opened(url) as broker:
        found = scheduler.get(broker.kv, name)
        if found is None:
            raise _none(name)
        job = found.job(time.time())
        job.id = new_id()
        broker.put([job])
    click.echo(job.id)


@command.command()
@click.argument("name")
@url_option
def remove(name: str, url: str | None) -> None:
    """Delete the schedule NAME. One of an app's code is back with the next worker of that code: pause it instead."""
    from longboat.cli.address import opened
    from longboat.operate import scheduler

    with opened(url) as broker:
        if not scheduler.remove(broker.kv, name):
            raise _none(name)
    click.echo(f"{name}: removed")


def _pause(name: str, url: str | None, paused: bool) -> None:
    import time

    from longboat.cli.address import opened
    from longboat.operate import scheduler

    with opened(url) as broker:
        if not scheduler.pause(broker.kv, name, paused, time.time()):
            raise _none(name)
    click.echo(f"{name}: {'paused' if paused else 'goes on'}")


def _none(name: str) -> CommandFailed:
    return CommandFailed(f"there is no schedule {name!r}", "See `longboat schedules list`.")
