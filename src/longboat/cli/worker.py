"""`longboat worker`: what can be chosen for workers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from longboat.cli.params import duration, queues, size
from longboat.errors import ConfigError

F = TypeVar("F", bound=Callable[..., Any])

LEVELS = ("debug", "info", "warning", "error")


def processes(value: str | int) -> int:
    """A number of worker processes, from a number or auto."""
    if value == "auto":
        from longboat.worker.options import processors

        return processors()
    try:
        number = int(value)
    except ValueError:
        number = 0
    if number < 1:
        raise click.BadParameter(f"{value!r} is neither a number from 1 nor auto.")
    return number


def _count(name: str, short: str | None, text: str, default: int | None = None) -> Callable[[F], F]:
    names = [f"--{name}", *([short] if short else [])]
    return click.option(*names, type=click.IntRange(min=1), default=default, metavar="N", help=text)


@click.command(context_settings={"show_default": True})
@click.argument("app", required=False)
@_count("concurrency", "-c", "Coroutines at a time in a worker.", 100)
@_count("threads", None, "Plain functions at a time in a worker. Default: processors + 4, at most 32.")
@_count("processes", None, "Child processes of a worker. Default: one for each processor.")
@click.option(
    "-n", "--workers", type=processes, default="1", metavar="N|auto", help="Worker processes; auto: one for each processor."
)
@click.option(
    "--scale",
    metavar="MIN-MAX",
    help="So many worker processes, as the waiting time demands: 1-8. None that leaves cuts off a job.",
)
@click.option(
    "-q",
    "--queues",
    type=queues,
    default=(),
    metavar="A,B",
    help="Only these queues, the first one first. Default: all, in turn.",
)
@click.option("--burst", is_flag=True, help="Leave when no job is ready.")
@_count("max-jobs", None, "Replace a worker process after so many jobs.")
@click.option(
    "--max-memory", type=size, metavar="SIZE", help="Replace a process, worker or child, that grows beyond this: 500MB."
)
@click.option("--grace", type=duration, default="25s", metavar="TIME", help="How long running jobs may finish at the end.")
@click.option("--lease", type=duration, default="15s", metavar="TIME", help="A dead machine's jobs come back after this.")
@click.option(
    "--health-port",
    type=click.IntRange(0, 65535),
    metavar="PORT",
    help="Answer /livez, /readyz and /metrics there. Each further worker process takes the next free port.",
)
@click.option("--health-host", default="127.0.0.1", metavar="HOST", help="On this address; 0.0.0.0: from everywhere.")
@click.option("--reload", is_flag=True, help="Start again when a source file changes; for development.")
@click.option(
    "--log-level",
    type=click.Choice(LEVELS, case_sensitive=False),
    default="info",
    metavar="LEVEL",
    help="debug, info, warning or error.",
)
@click.option(
    "--log-format", type=click.Choice(["text", "json"]), default="text", metavar="text|json", help="json: an object a line."
)
def command(app: str | None, workers: int, scale: str | None, reload: bool, log_level: str, **chosen: Any) -> int:
    """Run jobs until told to stop.

    APP is module:attribute or path/file.py:attribute; without one see `longboat --help`. Coroutine tasks run in an
    event loop, plain functions in threads, those with executor="process" in child processes, in the same worker.

    TERM or Ctrl-C: take no more jobs, finish what runs within the grace, then leave; a second one: hand back at once
    and leave. HUP: replace each worker process by a new one, which imports the app anew. USR1: write all stacks to
    standard error.

    Each option is also a variable: LONGBOAT_WORKER_CONCURRENCY=200, LONGBOAT_WORKER_QUEUES=high,low,
    LONGBOAT_WORKER_BURST=1.

    \b
    longboat worker tasks:app
    longboat worker shop/tasks.py -n auto -q high,low
    longboat worker --burst --max-memory 500MB

    Exit status: 0 after a stop or a burst, 3 the app cannot be imported (it is not tried again), 4 the broker cannot
    be reached at the start.
    """
    from longboat.cli import run

    try:
        return run.worker(app, workers=workers, scale=scale, reload=reload, log_level=log_level, **chosen)
    except ConfigError as error:
        raise click.UsageError(str(error)) from None
