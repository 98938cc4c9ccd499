"""`flask longboat …`: Longboat's command line, for the app that `flask` runs."""

from __future__ import annotations

import os
import sys

import click
from flask.cli import ScriptInfo


class Passed(click.Command):
    """A command that reads none of its arguments itself."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.args = list(args)
        return []


@click.command("longboat", cls=Passed, add_help_option=False, short_help="Workers, jobs and the dashboard of Longboat.")
@click.pass_context
def command(ctx: click.Context) -> None:
    """Run a command of Longboat for this app."""
    from longboat.cli.main import run

    if place := _place(ctx.ensure_object(ScriptInfo)):
        os.environ["FLASK_APP"] = place
    os.environ["LONGBOAT_APP"] = "longboat.contrib.flask.app"  # it is imported by the processes that are started
    ctx.exit(run(ctx.args, prog=ctx.command_path))


def _place(info: ScriptInfo) -> str | None:
    """Where other processes find the app; None: in the usual files."""
    if info.app_import_path is not None:
        return info.app_import_path
    make = info.create_app
    if make is None:
        return None
    module = make.__module__
    if module == "__main__":  # another one's is something else
        module = sys.modules[module].__file__ or module
    return f"{module}:{make.__qualname__}"
