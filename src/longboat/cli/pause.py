"""`longboat pause` and `longboat resume`: queues, tasks, limits, and jobs that a search finds."""

from __future__ import annotations

import click

from longboat.cli import acting, show
from longboat.cli.address import opened
from longboat.cli.params import json_option, reason_option, together, url_option
from longboat.cli.query import usage
from longboat.operate import pauses

_PLURAL = {"queue": "queues", "task": "tasks", "limit": "limits", "search": "searches"}
_names = together(
    click.option("--queue", multiple=True, metavar="NAME", help="This queue; may be repeated."),
    click.option("--task", multiple=True, metavar="NAME", help="This task; may be repeated."),
    click.option("--limit", multiple=True, metavar="KEY", help="Jobs of this limit: its key or a pattern; may be repeated."),
    click.option("--search", multiple=True, metavar="QUERY", help="Jobs such as args.customer:42; may be repeated."),
)


@click.command()
@_names
@reason_option
@json_option
@url_option
def command(reason: str | None, as_json: bool, url: str | None, **names: tuple[str, ...]) -> None:
    """Pause queues, tasks, or jobs of one customer: they wait until `longboat resume`, even across restarts.

    Running jobs go on. Workers notice within about a second. --limit and --search hold jobs that have the key of a limit, or
    that match a search of the words task: queue: flow: id: args: and args.…, also those enqueued later. Without options,
    list what is paused.

    \b
    longboat pause --queue mail
    longboat pause --limit "mail.send:acme" --reason "they asked for it"
    longboat pause --search "task:mail.* args.customer:acme"
    """
    if any(names.values()):
        _change(names, reason, url, True)
        return
    with opened(url) as broker:
        found = pauses.paused(broker.kv)
    if as_json:
        click.echo(show.to_json({_PLURAL[kind]: sorted(found[kind]) for kind in found}))
    else:
        show.rows(["paused", "name"], [[kind, each] for kind in found for each in sorted(found[kind])], "nothing is paused")


@click.command()
@_names
@reason_option
@url_option
def resume(reason: str | None, url: str | None, **names: tuple[str, ...]) -> None:
    """Resume what is paused, named as it was paused."""
    if not any(names.values()):
        raise click.UsageError("Say which: --queue, --task, --limit or --search.")
    _change(names, reason, url, False)


def _change(names: dict[str, tuple[str, ...]], reason: str | None, url: str | None, paused: bool) -> None:
    with usage():
        chosen: list[tuple[pauses.Kind, str]] = [
            (kind, pauses.checked(kind, name)) for kind in pauses.KINDS for name in names[kind]
        ]
    became, was = ("paused", "already paused") if paused else ("resumed", "was not paused")
    with opened(url) as broker:
        for kind, name in chosen:
            if paused:
                pauses.check(broker, kind)
            changed = pauses.pause(broker.kv, kind, name, paused)
            click.echo(f"{kind} {name}: {became if changed else was}")
            if changed:
                acting.told(broker, "pause" if paused else "resume", f"{kind} {name} {became}", reason)
