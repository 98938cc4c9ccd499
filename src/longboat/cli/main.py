"""The command `longboat`: a group whose commands are imported when they are called for."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import click

from longboat.cli.fail import DONE, INTERRUPTED, USAGE, CommandFailed, line, told
from longboat.errors import LongboatError

COMMANDS = {
    "worker": "Run jobs until told to stop.",
    "dev": "Run a worker and the dashboard while you write the program.",
    "serve": "Publish a store to other machines.",
    "enqueue": "Ask for a job of a task.",
    "result": "Print a job's result.",
    "jobs": "Find jobs; show, retry, cancel, discard or move them.",
    "queues": "Count jobs by queue and state.",
    "workers": "List the workers.",
    "top": "Show queues and workers live.",
    "events": "Show what happens, as it happens.",
    "dead": "List, show, retry or purge dead jobs.",
    "explain": "Say why a job is not running.",
    "replay": "Run a job's exact call here, with the debugger if you like.",
    "flows": "List, show or cancel flows.",
    "schedules": "List, add, pause, run or remove schedules.",
    "dashboard": "Show everything in a browser, and act on it.",
    "pause": "Pause queues or tasks.",
    "resume": "Let paused queues or tasks go on.",
    "cancel": "Cancel jobs by id.",
    "purge": "Delete jobs that do not run.",
    "move": "Move jobs from one broker into another.",
    "migrate": "Make the broker's tables, or bring them up to date.",
    "check": "Ask whether a worker is healthy, for probes.",
    "doctor": "Check the installation, the settings and the broker.",
    "bench": "Measure this machine: jobs per second, round trip.",
    "demo": "Run real work through a real worker.",
    "completion": "Print a shell's completion script.",
}
"""Name -> what it does. Each lives as `command` in the file of its name, or in that of FILES."""

FILES = {"demo": "demo_command", "resume": "pause"}
NAMES = {"resume": "resume"}
"""Those that are not called `command` there."""


class Commands(click.Group):
    """Imports a command when it is called for, so that --help costs nothing."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"longboat.cli.{FILES.get(cmd_name, cmd_name)}")
        found: click.Command = getattr(module, NAMES.get(cmd_name, "command"))
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            return INTERRUPTED


def _version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        from longboat import __version__

        click.echo(f"longboat {__version__}")
        ctx.exit(DONE)


@click.command(cls=Commands, invoke_without_command=True, context_settings={"auto_envvar_prefix": "LONGBOAT"})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    allow_from_autoenv=False,
    callback=_version,
    help="Show the version and exit.",
)
@click.pass_context
def command(ctx: click.Context) -> None:
    """Longboat, a distributed task queue.

    \b
    longboat worker tasks:app             run jobs of the app `app` in tasks.py
    longboat enqueue tasks.add 1 2 --wait
    longboat jobs --state dead
    longboat COMMAND --help               all about a command

    The app is the argument (module:attribute or path/file.py:attribute), else LONGBOAT_APP, else `app` of
    [tool.longboat] in pyproject.toml, else the one in tasks.py, app.py or main.py here.

    The broker is --url, else LONGBOAT_URL, else the app's, else sqlite:///longboat.db.

    Each option is also a variable: LONGBOAT_WORKER_CONCURRENCY for --concurrency of `worker`. Durations are
    written 30s, 5m, 2h.

    Exit status: 0 done, 1 failed or not found, 2 wrong usage, 3 the app cannot be imported or is set up wrongly,
    4 the broker cannot be reached, 5 unhealthy, 6 waited too long, 130 interrupted.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def main() -> None:
    """Run the command line of this process, and exit."""
    sys.exit(_status())


def _status() -> int:
    try:
        status = command.main(prog_name="longboat", standalone_mode=False)
        return status if isinstance(status, int) else DONE
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx else "longboat"
        return _fail(error.format_message(), f"Try `{where} --help`.", USAGE)
    except click.ClickException as error:
        return _fail(error.format_message(), "Try `longboat --help`.", error.exit_code)
    except click.Abort:
        return INTERRUPTED
    except CommandFailed as error:
        return _fail(error.what, error.advice, error.status)
    except LongboatError as error:
        return _fail(*told(error))


def _fail(what: str, advice: str, status: int) -> int:
    click.echo(f"Error: {line(what)}\n{line(advice)}", err=True)
    return status
