"""The command `longboat`: a group whose commands are imported when they are called."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Collection, Sequence
from typing import Any

import click

from longboat.cli.fail import DONE, INTERRUPTED, USAGE, CommandFailed, line, told
from longboat.cli.group import Group
from longboat.errors import LongboatError

COMMANDS = {
    "worker": "Run jobs until told to stop.",
    "dev": "Run a worker and the dashboard, restarted on changes.",
    "serve": "Publish a store to other machines.",
    "enqueue": "Enqueue a job.",
    "result": "Print a job's result.",
    "jobs": "Find jobs; show, retry, cancel, discard or move them.",
    "queues": "Count jobs by queue and state.",
    "workers": "List workers; quiet, resume or stop them.",
    "top": "Show queues, workers and tasks live.",
    "events": "Show what happens, as it happens.",
    "logs": "Show what jobs logged, or log.",
    "failures": "List what fails, most since the deploy first.",
    "deploy": "Mark or list the deploys of your app.",
    "dead": "List, show, retry or purge dead jobs.",
    "explain": "Explain why a job is not running, or why a queue is slow.",
    "attention": "List what is stuck.",
    "replay": "Run a job's exact call here, optionally in the debugger.",
    "flows": "List, show or cancel flows.",
    "schedules": "List, add, pause, resume, run or remove schedules.",
    "calendar": "List what runs in the next hour.",
    "dashboard": "Show and change everything in a browser.",
    "pause": "Pause queues or tasks.",
    "resume": "Resume paused queues or tasks.",
    "cancel": "Cancel jobs by id, queue, task or flow.",
    "audit": "List who changed what.",
    "purge": "Delete jobs by queue and state.",
    "move": "Move jobs from one broker to another.",
    "migrate": "Create the broker's tables, or bring them up to date.",
    "check": "Check whether a worker is healthy, for probes.",
    "doctor": "Check the installation, the settings and the broker.",
    "bench": "Measure this machine: jobs per second, round trip.",
    "demo": "Run real work through a real worker.",
    "completion": "Print a completion script for a shell.",
}
"""Name -> what it does. Each is `command` in the file of its name, or what ELSEWHERE says."""

ELSEWHERE = {"resume": ("pause", "resume")}

NESTED = {
    **{verb: f"jobs {verb}" for verb in ("list", "show", "retry", "discard")},
    **{verb: f"workers {verb}" for verb in ("stop", "quiet")},
    **{verb: f"schedules {verb}" for verb in ("add", "remove")},
    **dict.fromkeys(("run", "start"), "worker"),
    "ls": "jobs list",
    "status": "top",
}
"""What other commands are probably meant by, and is no misspelling of theirs."""

NO_COLOUR = "--no-color"


class Commands(Group):
    """Imports a command only when it is called, so that --help is quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # as its protocol has it
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  # as its protocol has it
        if cmd_name not in COMMANDS:
            return None
        file, name = ELSEWHERE.get(cmd_name, (cmd_name, "command"))
        found: click.Command = getattr(importlib.import_module(f"longboat.cli.{file}"), name)
        return found

    def meant(self, word: str, known: Collection[str]) -> str:
        return NESTED.get(word) or super().meant(word, known)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        end = args.index("--") if "--" in args else len(args)
        if NO_COLOUR in args[:end]:  # wherever it stands: every command takes it
            ctx.color = False
            args = [each for each in args[:end] if each != NO_COLOUR] + args[end:]
        return super().parse_args(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  # as its protocol has it
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
@click.option(NO_COLOUR, is_flag=True, expose_value=False, help="Write without colours, as with NO_COLOR set.")
@click.pass_context
def command(ctx: click.Context) -> None:
    """Longboat, a distributed task queue.

    \b
    longboat worker tasks:app             run jobs of the app `app` in tasks.py
    longboat enqueue tasks.add 1 2 --wait
    longboat jobs --state dead
    longboat COMMAND --help               help for one command

    The app is the argument (module:attribute or path/file.py:attribute), else LONGBOAT_APP, else `app` in
    [tool.longboat] of pyproject.toml, else the one in tasks.py, app.py or main.py here.

    The broker is --url, else LONGBOAT_URL, else the app's, else sqlite:///longboat.db.

    An ID may be short: an unambiguous beginning, or what lists show on a terminal.

    Each option can also be set by a variable: LONGBOAT_WORKER_CONCURRENCY is --concurrency of `worker`. Durations are
    written 30s, 5m, 2h.

    Exit status: 0 done, 1 failed or not found, 2 wrong usage, 3 the app cannot be imported or is misconfigured,
    4 the broker cannot be reached, 5 unhealthy, 6 timed out, 130 interrupted.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def main() -> None:
    """Run this process's command line, and exit."""
    sys.exit(run())


def run(arguments: Sequence[str] | None = None, prog: str = "longboat") -> int:
    """Run a command; returns its exit status. Errors are written to standard error.

    `arguments`: what follows the program's name; None: those of this process. `prog`: what its texts call the program, where
    another command stands in front of it.
    """
    try:
        status = command.main(arguments, prog_name=prog, standalone_mode=False)
        return status if isinstance(status, int) else DONE
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx else prog
        return _fail(error.format_message(), f"Try `{where} --help`.", USAGE)
    except click.ClickException as error:
        return _fail(error.format_message(), f"Try `{prog} --help`.", error.exit_code)
    except click.Abort:
        return INTERRUPTED
    except CommandFailed as error:
        return _fail(error.what, error.advice, error.status)
    except LongboatError as error:
        return _fail(*told(error))


def _fail(what: str, advice: str, status: int) -> int:
    click.echo(f"Error: {line(what)}\n{line(advice)}", err=True)
    return status
