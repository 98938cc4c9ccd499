"""Kinds of values that options take, and the options that several commands share."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Any, TypeVar, cast

import click

from longboat.core.clock import seconds
from longboat.core.job import State
from longboat.errors import ConfigError
from longboat.tasks.template import checked_name

F = TypeVar("F", bound=Callable[..., Any])

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?", re.IGNORECASE)


def duration(value: str) -> float:
    """Seconds, from 30, 30s, 5m, 2h."""
    try:
        return seconds(value, "duration")
    except ConfigError as error:
        raise click.BadParameter(str(error)) from None


def size(value: str | int) -> int:
    """Bytes, from 500MB, 2GiB, 1048576."""
    found = _SIZE.fullmatch(str(value).strip())
    if not found:
        raise click.BadParameter(f"{value!r} is not a size such as 500MB or 2GiB.")
    number, unit, binary = found.groups()
    return int(float(number) * (1024 if binary else 1000) ** " kmgt".index(unit.lower() or " "))


def queues(value: str | tuple[str, ...]) -> tuple[str, ...]:
    """Names of queues, from high,low."""
    if isinstance(value, tuple):
        return value
    try:
        return tuple(checked_name(name.strip(), "queue") for name in value.split(","))
    except ConfigError as error:
        raise click.BadParameter(str(error)) from None


def modules(value: str | tuple[str, ...]) -> tuple[str, ...]:
    """Modules or files, from shop.mail,more.py."""
    if isinstance(value, tuple):
        return value
    return tuple(name for each in value.split(",") if (name := each.strip()))


def json_list(value: str) -> list[Any]:
    return cast("list[Any]", _json(value, list))


def json_map(value: str) -> dict[str, Any]:
    return cast("dict[str, Any]", _json(value, dict[str, Any]))


def _json(value: str, kind: Any) -> Any:
    import msgspec

    try:
        return msgspec.json.decode(value, type=kind)
    except (msgspec.MsgspecError, ValueError) as error:
        word = "list" if kind is list else "map"
        raise click.BadParameter(f"{value!r} is not a JSON {word}: {error}") from None


def together(*options: Callable[[F], F]) -> Callable[[F], F]:
    """Several options as one decorator; `--help` shows them in this order."""

    def decorate(command: F) -> F:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


STATE = click.Choice([state.value for state in State])

query = click.argument("words", nargs=-1, metavar="[QUERY]...")
url_option = click.option(
    "--url", metavar="URL", help="The broker. Default: LONGBOAT_URL, else the app's, else sqlite:///longboat.db."
)
"""Where it is not given, see address.py."""
json_option = click.option(
    "--json", "as_json", is_flag=True, help="Write JSON: one document, or for lists one line per item."
)
queue_option = click.option("--queue", metavar="NAME", help="Only jobs in this queue.")
task_option = click.option("--task", metavar="NAME", help="Only jobs of this task.")
yes_option = click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
reason_option = click.option("--reason", metavar="TEXT", help="Why, for the audit (`longboat audit`).")
changes = together(
    yes_option,
    click.option("--dry-run", is_flag=True, help="Only report how many jobs would be affected."),
    reason_option,
)
"""Of commands that ask before they change something."""
outputs = together(json_option, url_option)


spread_option = click.option(
    "--spread", type=duration, default=0.0, metavar="TIME", help="Have the jobs come back evenly over this time."
)


def use(url: str | None) -> None:
    """Have the apps of this process, and of those that it starts, use the broker of --url, whatever else names one."""
    if url:
        os.environ["LONGBOAT_URL"] = url


def limit_option(default: int) -> Callable[[F], F]:
    return click.option(
        "--limit", type=click.IntRange(min=1), default=default, show_default=True, metavar="N", help="List at most N."
    )


after_option = click.option("--after", metavar="TEXT", help="Continue where the previous list ended.")
listing = together(queue_option, task_option, limit_option(50), after_option, outputs)
"""Of lists of jobs."""
