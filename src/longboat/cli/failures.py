"""`longboat failures`: what fails, how often, since when, and what is new since the deploy."""

from __future__ import annotations

import time

import click

from longboat.cli import show
from longboat.cli.address import opened
from longboat.cli.fail import CommandFailed
from longboat.cli.params import limit_option, outputs, query
from longboat.cli.query import query_of
from longboat.errors import ConfigError
from longboat.observe import deploys, history
from longboat.observe.words import span
from longboat.operate.failing import NEWEST, SORTS, WORDS, Failing, chosen, data, failing

COLUMNS = ("fingerprint", "count", "first", "last", "task", "failure")


@click.command()
@query
@click.option("--since-deploy", is_flag=True, help="Count since the newest deploy, and sort by that.")
@click.option("--new", is_flag=True, help="Only failures that the newest deploy brought.")
@click.option("--sort", type=click.Choice(SORTS), help="By the latest, the number, or the first. Default: last.")
@limit_option(50)
@outputs
def command(
    words: tuple[str, ...], since_deploy: bool, new: bool, sort: str | None, limit: int, as_json: bool, url: str | None
) -> None:
    """List groups of similar failures: the same task, error, place in the code, and message apart from its numbers.

    QUERY: task:, error:, failure: (a fingerprint), or part of the task, the type or the message.

    Deploys are marked by `longboat deploy mark VERSION`, or by workers with LONGBOAT_VERSION. With --json, one line per
    group; "count" is of all time, "since_deploy" since the newest deploy, if there is one.

    \b
    longboat failures --since-deploy
    longboat failures --new task:mail.*
    longboat jobs failure:FINGERPRINT
    """
    wanted = query_of("failures", WORDS, words)
    with opened(url) as broker:
        known = deploys.deploys(broker.kv)
        try:
            deploy = chosen(known, NEWEST if since_deploy or new else "")
        except ConfigError as error:
            raise CommandFailed(str(error), "See `longboat deploy --help`.") from None
        groups = history.failure_groups(broker.kv)
    found = failing(groups, wanted, deploy=deploy, new=new, sort=sort or ("count" if deploy else "last"))[:limit]
    if as_json:
        newest = known[0] if known else None
        for each in found:
            click.echo(show.to_json(data(each.group, newest)))
        return
    if deploy is not None:
        click.echo(f"Since {deploy.version}, deployed {show.moment(deploy.at)} by {deploy.by}:", err=True)
    show.rows(COLUMNS, [_row(each) for each in found], "no failures", right=("count", "first", "last"))


def _row(each: Failing) -> list[str]:
    group, now = each.group, time.time()
    said = f"{'new: ' if each.new else ''}{group.type}: {group.message}"
    times = [f"{span(now - at)} ago" for at in (group.first, group.last)]
    return [group.fingerprint, f"{each.count:,}", *times, group.task, said if len(said) <= 100 else said[:99] + "…"]
