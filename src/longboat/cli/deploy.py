"""`longboat deploy`: marks of when which version of an app went live."""

from __future__ import annotations

import click
import msgspec

from longboat.cli import acting, show
from longboat.cli.address import opened
from longboat.cli.group import Group
from longboat.cli.params import outputs
from longboat.observe import deploys
from longboat.operate.audit import here


@click.group(cls=Group)
def command() -> None:
    """Mark or list the deploys of your app: pages draw them in every chart and tell which failures are new since.

    Workers with LONGBOAT_VERSION in their environment mark their version themselves: the first one of each version does.

    \b
    longboat deploy mark v1.2
    longboat failures --since-deploy
    """


@command.command()
@click.argument("version")
@outputs
def mark(version: str, as_json: bool, url: str | None) -> None:
    """Mark that VERSION goes live now. The newest 100 marks are kept for 90 days."""
    with opened(url) as broker:
        by = here("command line")
        made = deploys.mark(broker.kv, version, f"{by.who}@{by.host}")
        acting.told(broker, "deploy", f"version {version} deployed", None)
    click.echo(show.to_json(msgspec.structs.asdict(made)) if as_json else f"{version}: deployed {show.moment(made.at)}")


@command.command("list")
@outputs
def list_(as_json: bool, url: str | None) -> None:
    """List the deploys, newest first."""
    with opened(url) as broker:
        found = [
            (msgspec.structs.asdict(each), [each.version, show.moment(each.at), each.by])
            for each in deploys.deploys(broker.kv)
        ]
    show.items(("version", "deployed", "by"), found, "no deploys", as_json=as_json)
