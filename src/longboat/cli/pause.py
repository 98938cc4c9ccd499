"""`longboat pause` and `longboat resume`: queues and tasks."""

from __future__ import annotations

import click

from longboat.cli.params import json_option, url_option

_queues = click.option("--queue", "queues", multiple=True, metavar="NAME", help="This queue; may be said several times.")
_tasks = click.option("--task", "tasks", multiple=True, metavar="NAME", help="This task; may be said several times.")


@click.command()
@_queues
@_tasks
@json_option
@url_option
def command(queues: tuple[str, ...], tasks: tuple[str, ...], as_json: bool, url: str | None) -> None:
    """Pause queues or tasks: their jobs wait until `longboat resume`, also over restarts. What runs goes on.

    Workers heed it within about a second. Without options: list what is paused.
    """
    _change(queues, tasks, url, True) if queues or tasks else _list(url, as_json)


@click.command()
@_queues
@_tasks
@url_option
def resume(queues: tuple[str, ...], tasks: tuple[str, ...], url: str | None) -> None:
    """Let paused queues or tasks go on."""
    if not (queues or tasks):
        raise click.UsageError("Say which: --queue or --task.")
    _change(queues, tasks, url, False)


def _change(queues: tuple[str, ...], tasks: tuple[str, ...], url: str | None, paused: bool) -> None:
    from longboat.cli.address import opened
    from longboat.operate.pauses import pause

    with opened(url) as broker:
        for queue in queues:
            _say(f"queue {queue}", pause(broker.kv, "queue", queue, paused), paused)
        for task in tasks:
            _say(f"task {task}", pause(broker.kv, "task", task, paused), paused)


def _say(what: str, changed: bool, paused: bool) -> None:
    became = "paused" if paused else "goes on"
    click.echo(f"{what}: {became}" if changed else f"{what}: {'was paused already' if paused else 'was not paused'}")


def _list(url: str | None, as_json: bool) -> None:
    from longboat.cli import show
    from longboat.cli.address import opened
    from longboat.operate.pauses import paused

    with opened(url) as broker:
        found = paused(broker.kv)
    if as_json:
        click.echo(show.as_json({"queues": sorted(found["queue"]), "tasks": sorted(found["task"])}))
    elif not any(found.values()):
        click.echo("nothing is paused")
    else:
        show.table(["paused", "name"], [[kind, name] for kind, names in found.items() for name in sorted(names)])
