"""Which broker a command talks to, and opening it without creating anything."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote, urlsplit

import click

from longboat.cli.fail import FAILED, USAGE, CommandFailed
from longboat.cli.ids import one, whole
from longboat.client.inbox import not_found
from longboat.connect import DEFAULT_URL, connect
from longboat.contract.capabilities import Capability
from longboat.core.urls import shown
from longboat.errors import AppNotFound, BrokerUnavailable, JobNotFound, Unsupported

if TYPE_CHECKING:
    from longboat.contract.broker import Broker
    from longboat.core.views import JobView


LOOKED_AT = "longboat.looked_at"
"""Where a command's context keeps the address that it has opened."""


class Address(NamedTuple):
    """A broker's URL, and where it comes from."""

    url: str
    origin: str


def address(url: str | None) -> Address:
    """The URL given, else LONGBOAT_URL, else the app's, else the default. Raises AppNotFound for a broken app."""
    if url:
        return Address(url, "--url")
    url = os.environ.get("LONGBOAT_URL")
    if url:
        return Address(url, "LONGBOAT_URL")
    from longboat.cli import locate

    try:
        found = locate.look()
    except AppNotFound as error:
        what, _, advice = str(error).partition("\n")
        raise AppNotFound(f"{what}\n{advice} To look at jobs without the app, give --url or LONGBOAT_URL.") from error
    return Address(DEFAULT_URL, "default") if found is None else Address(found[0].url, f"app {found[1]}")


@contextmanager
def opened(url: str | None) -> Iterator[Broker]:
    """The broker, for looking and for an operator's changes. Raises CommandFailed if there is nothing to look at.

    Whoever finds nothing is told which broker it was: perhaps another one was meant.
    """
    found = address(url)
    if (context := click.get_current_context(silent=True)) is not None:
        context.meta[LOOKED_AT] = found
    refuse_memory(found.url)
    broker = connect(found.url)
    refuse_missing(found)
    try:
        yield broker
    except JobNotFound as error:
        advice = f"Check the id, and the broker's URL: this was {shown(found.url)} ({found.origin})."
        raise CommandFailed(str(error), advice, FAILED) from error
    finally:
        broker.close()


def looked_at() -> str:
    """The URL that this command has opened, as it may be shown; empty if it has opened none."""
    context = click.get_current_context(silent=True)
    found: Address | None = context.meta.get(LOOKED_AT) if context is not None else None
    return "" if found is None else shown(found.url)


def nothing(text: str) -> None:
    """Say that nothing was found; on standard error, where: perhaps another broker was meant."""
    click.echo(text)
    if where := looked_at():
        click.echo(f"Looked at {where}", err=True)


def find_job(broker: Broker, job_id: str) -> JobView:
    """The job of an id or a part of one (see ids.py). Raises JobNotFound.

    Where no job can be looked up, it is looked for among those that run, then among the dead ones.
    """
    job_id = whole(broker, job_id)
    try:
        view = broker.inspector.find([job_id])[0]
    except Unsupported as error:
        if found := _told(broker, job_id):
            return found
        advice = f"`longboat explain {quote(job_id)}` tells what is known of it."
        raise CommandFailed(f"{job_id} is neither running nor among the dead jobs, and {error}", advice, FAILED) from None
    if view is None:
        raise not_found(job_id)
    return view


def _told(broker: Broker, job_id: str) -> JobView | None:
    """A running or dead job, where no job can be looked up."""
    from longboat.operate import traces

    runs = {view.id: view for view in traces.running(broker.kv)} if Capability.KV in broker.capabilities else {}
    if found := runs.get(one(job_id, runs)):
        return found
    dead = {view.id: view for view in traces.dead(broker)}
    return dead.get(one(job_id, dead))


def refuse_memory(url: str) -> None:
    """Raises CommandFailed: no other process can reach a broker in memory."""
    if url.startswith("memory://"):
        raise CommandFailed(
            "memory:// lives inside one process: it cannot be reached from here",
            "Use a broker that processes share, such as sqlite:///longboat.db, by --url or LONGBOAT_URL.",
            USAGE,
        )


def refuse_missing(found: Address) -> None:
    """Raises BrokerUnavailable for a file that is not there: to open it would create it."""
    path = sqlite_path(found.url)
    if path is not None and not path.exists():
        raise BrokerUnavailable(
            f"there is no file {path} yet ({shown(found.url)}, from {found.origin})\n"
            "The first job creates it. Is this the right directory? Name another file by --url or LONGBOAT_URL."
        )


def sqlite_path(url: str) -> Path | None:
    """The file that a sqlite:// URL names; None for other brokers."""
    if not url.startswith("sqlite://"):
        return None
    return Path(unquote(urlsplit(url).path)[1:]).absolute()
