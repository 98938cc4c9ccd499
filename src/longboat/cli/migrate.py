"""`longboat migrate`: the tables of a broker that keeps its jobs in a database."""

from __future__ import annotations

import click

from longboat.cli.address import opened
from longboat.cli.params import url_option
from longboat.contract.optional import migrations


@click.command()
@click.option("--plan", is_flag=True, help="Only report what would be done.")
@click.option("--sql", is_flag=True, help="Only print the SQL that would be run, for psql.")
@url_option
def command(plan: bool, sql: bool, url: str | None) -> None:
    """Create the broker's tables, or bring them up to date, in one transaction.

    The first connection does this too, if its database role may. If it may not, run this with a role that may, before you
    start a new version of Longboat. It is for PostgreSQL only: SQLite files are always brought up to date when opened.

    \b
    longboat migrate --url postgresql://owner@host/database --plan
    longboat migrate --sql | psql -1 database
    """
    with opened(url) as broker:
        its_migrations = migrations(broker)
        if its_migrations is None:
            click.echo(
                "" if sql else "nothing to migrate: this broker's store is brought up to date when opened", nl=not sql
            )
            return
        its, newest, script = its_migrations.plan()
        if sql:
            click.echo(script, nl=False)
        elif its == newest:
            click.echo(f"the store is up to date (version {newest})")
        elif plan:
            click.echo(f"would go from version {its} to {newest}" if its else f"would make a new store of version {newest}")
        else:
            its_migrations.run()
            click.echo(f"went from version {its} to {newest}" if its else f"made a new store of version {newest}")
