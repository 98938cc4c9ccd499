"""Kinds of values that options take, and the options that several commands share."""

from __future__ import annotations

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
    """Queues' names, from high,low."""
    if isinstance(value, tuple):
        return value
    try:
        return tuple(checked_name(name.strip(), "queue") for name in value.split(","))
    except ConfigError as error:
        raise click.BadParameter(str(error)) from None


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
        raise click.BadParameter(f"{value!r} is no JSON {word}: {error}") from None


STATE = click.Choice([state.value for state in State])


def url_option(command: F) -> F:
    """--url; where it is not given, see address.py."""
    text = "The broker. Else LONGBOAT_URL, else the app's if one is found, else sqlite:///longboat.db."
    return click.option("--url", metavar="URL", help=text)(command)


def json_option(command: F) -> F:
    return click.option("--json", "as_json", is_flag=True, help="Write JSON: a document, or for lists one line an item.")(
        command
    )


def changes(command: F) -> F:
    """--yes and --dry-run, of commands that ask before they change something."""
    command = click.option("--dry-run", is_flag=True, help="Only say how many jobs it would be.")(command)
    return click.option("--yes", is_flag=True, help="Do not ask.")(command)
