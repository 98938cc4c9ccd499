"""`longboat pause` and `longboat resume`: queues and tasks."""

from __future__ import annotations

import click

from longboat.cli import acting, show
from longboat.cli.address import opened
from longboat.cli.params import json_option, reason_option, together, url_option
from longboat.operate import pauses

_names = together(
    click.option("--queue", "queues", multiple=True, metavar="NAME", help="This queue; may be repeated."),
    click.option("--task", "tasks", multiple=True, metavar="NAME", help="This task; may be repeated."),
)


@click.command()
@_names
@reason_option
@json_option
@url_option
def command(queues: tuple[str, ...], tasks: tuple[str, ...], reason: str | None, as_json: bool, url: str | None) -> None:
    """Pause queues or tasks: their jobs wait until `longboat resume`, even across restarts. Running jobs go on.

    Workers notice within about a second. Without options, list what is paused.
    """
    if queues or tasks:
        _change(queues, tasks, reason, url, True)
        return
    with opened(url) as broker:
        found = pauses.paused(broker.kv)
    if as_json:
        click.echo(show.to_json({"queues": sorted(found["queue"]), "tasks": sorted(found["task"])}))
    else:
        show.rows(["paused", "name"], [[kind, each] for kind in found for each in sorted(found[kind])], "nothing is paused")


@click.command()
@_names
@reason_option
@url_option
def resume(queues: tuple[str, ...], tasks: tuple[str, ...], reason: str | None, url: str | None) -> None:
    """Resume paused queues or tasks."""
    if not (queues or tasks):
        raise click.UsageError("Say which: --queue or --task.")
    _change(queues, tasks, reason, url, False)


def _change(queues: tuple[str, ...], tasks: tuple[str, ...], reason: str | None, url: str | None, paused: bool) -> None:
    names: list[tuple[pauses.Kind, str]] = [*(("queue", name) for name in queues), *(("task", name) for name in tasks)]
    became, was = ("paused", "already paused") if paused else ("resumed", "was not paused")
    with opened(url) as broker:
        for kind, name in names:
            changed = pauses.pause(broker.kv, kind, name, paused)
            click.echo(f"{kind} {name}: {became if changed else was}")
            if changed:
                acting.told(broker, "pause" if paused else "resume", f"{kind} {name} {became}", reason)
