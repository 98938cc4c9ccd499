"""`longboat migrate`: the tables of a broker that keeps its jobs in a database."""

from __future__ import annotations

import click

from longboat.cli.params import url_option


@click.command()
@click.option("--plan", is_flag=True, help="Say what would be done, and change nothing.")
@click.option("--sql", is_flag=True, help="Print the SQL that would be run, for psql, and change nothing.")
@url_option
def command(plan: bool, sql: bool, url: str | None) -> None:
    """Make the broker's tables, or bring them up to date, in one transaction.

    Done at the first use as well, where the database's role may; elsewhere, by a role that may, before a new version
    of Longboat is started. With PostgreSQL only: SQLite's file is always brought up to date by who opens it.

    \b
    longboat migrate --url postgresql://owner@host/database --plan
    longboat migrate --sql | psql -1 database
    """
    from longboat.cli.address import opened
    from longboat.contract.optional import migrations

    with opened(url) as broker:
        its_migrations = migrations(broker)
        if its_migrations is None:
            click.echo(
                "" if sql else "nothing to migrate: this broker's store is brought up to date by who opens it", nl=not sql
            )
            return
        its, newest, script = its_migrations.plan()
        if sql:
            click.echo(script, nl=False)
        elif its == newest:
            click.echo(f"the store is up to date (version {newest})")
        else:
            what = f"version {its} to {newest}" if its else f"a new store of version {newest}"
            if plan:
                click.echo(f"would make {what}" if not its else f"would go from {what}")
                return
            its_migrations.run()
            click.echo(f"made {what}" if not its else f"went from {what}")
