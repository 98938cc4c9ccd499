"""`longboat audit`: who changed what."""

from __future__ import annotations

from typing import Any

import click
import msgspec

from longboat.cli import show
from longboat.cli.address import opened
from longboat.cli.params import after_option, limit_option, outputs
from longboat.operate import audit
from longboat.operate.audit import AuditEntry

COLUMNS = ("when", "who", "action", "reason", "outcome")


@click.command()
@click.argument("id", required=False)
@click.option("--text", metavar="TEXT", default="", help="Only those in which this text occurs.")
@limit_option(50)
@after_option
@outputs
def command(id: str | None, text: str, limit: int, after: str | None, as_json: bool, url: str | None) -> None:
    """List who changed what, newest first: by a page, the API, the command line or a call in Python; with the job ID, what
    was done to that job, oldest first.

    Acts are kept for 90 days, at most the newest 50,000; what was done to which job, for 30 days. By the command line and in
    Python it is the user of the operating system.

    \b
    longboat audit
    longboat audit --text cancel
    longboat audit ID
    """
    with opened(url) as broker:
        found = audit.of_job(broker.kv, id) if id else audit.newest(broker.kv, limit, before=after, text=text)
    show.items(COLUMNS, [(data(each), _row(each)) for each in found], "no changes", as_json=as_json)
    if not id and len(found) == limit:
        if as_json:
            click.echo(show.to_json({"after": found[-1].id}))
        else:
            click.echo(f"these are the newest {limit:,}; to see more, repeat it with --after {found[-1].id}", err=True)


def _row(entry: AuditEntry) -> list[str]:
    return [show.moment(entry.at), entry.by, entry.verb, entry.reason, entry.what]


def data(entry: AuditEntry) -> dict[str, Any]:
    """It as plain data."""
    return msgspec.structs.asdict(entry)
