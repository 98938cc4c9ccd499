"""`longboat worker`: the options of workers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from longboat.cli.params import duration, modules, queues, size, url_option, use
from longboat.cli.query import usage
from longboat.cli.start import wait_option

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
        raise click.BadParameter(f"{value!r} is neither a positive number nor auto.")
    return number


def _count(name: str, short: str | None, text: str, default: int | None = None) -> Callable[[F], F]:
    names = [f"--{name}", *([short] if short else [])]
    return click.option(*names, type=click.IntRange(min=1), default=default, metavar="N", help=text)


@click.command(context_settings={"show_default": True})
@click.argument("apps", nargs=-1, metavar="[APP]...")
@click.option(
    "--include",
    type=modules,
    default=(),
    metavar="A,B",
    help="Import these modules or files too: they define more of the app's tasks. Also Longboat(include=[…]).",
)
@_count("concurrency", "-c", "Coroutines that a worker process runs at a time.", 100)
@_count("threads", None, "Plain functions that a worker process runs at a time. Default: processors + 4, at most 32.")
@_count("processes", None, "Child processes of a worker process. Default: one per processor.")
@click.option(
    "-n", "--workers", type=processes, default="1", metavar="N|auto", help="Worker processes; auto: one per processor."
)
@click.option(
    "--scale",
    metavar="MIN-MAX",
    help="Between MIN and MAX worker processes, depending on waiting time: 1-8. Scaling down interrupts no job.",
)
@click.option(
    "-q",
    "--queues",
    type=queues,
    default=(),
    metavar="A,B",
    help="Only these queues, the first one first. Default: all, in turn; on RabbitMQ, those of the tasks and 'default'.",
)
@click.option("--burst", is_flag=True, help="Exit when no job is ready.")
@_count("max-jobs", None, "Replace a worker process after N jobs.")
@click.option(
    "--max-memory", type=size, metavar="SIZE", help="Replace a worker or child process that grows beyond this: 500MB."
)
@click.option(
    "--grace",
    type=duration,
    default="25s",
    metavar="TIME",
    help="How long running jobs may take to finish when the worker stops.",
)
@click.option(
    "--lease",
    type=duration,
    default="15s",
    metavar="TIME",
    help="After this long, the jobs of a dead machine run elsewhere.",
)
@click.option(
    "--health-port",
    type=click.IntRange(0, 65535),
    metavar="PORT",
    help="Serve /livez, /readyz and /metrics on this port. Each further worker process takes the next free port.",
)
@click.option(
    "--health-host",
    default="127.0.0.1",
    metavar="HOST",
    help="The address of the health port; 0.0.0.0 is reachable from other machines.",
)
@click.option("--reload", is_flag=True, help="Restart when a source file changes; for development.")
@click.option(
    "--log-level",
    type=click.Choice(LEVELS, case_sensitive=False),
    default="info",
    metavar="LEVEL",
    help="Least severe level to log: debug, info, warning or error.",
)
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default="text",
    metavar="text|json",
    help="Format of the log; json: one object per line.",
)
@wait_option
@url_option
def command(
    apps: tuple[str, ...],
    workers: int,
    scale: str | None,
    reload: bool,
    log_level: str,
    url: str | None,
    **chosen: Any,
) -> int:
    """Run jobs until told to stop.

    APP is module:attribute or path/file.py:attribute; for the default see `longboat --help`. Several apps, and modules with
    further tasks, may be named; all have one broker. One worker runs coroutine tasks in an event loop, plain functions in
    threads, and tasks with executor="process" in child processes.

    TERM or Ctrl-C: take no more jobs, finish running jobs within the grace period, then exit; a second one: hand them
    back at once and exit. HUP: replace each worker process with a new one, which imports the app again. USR1: write all
    stacks to standard error.

    Each option can also be set by a variable: LONGBOAT_WORKER_CONCURRENCY=200, LONGBOAT_WORKER_QUEUES=high,low,
    LONGBOAT_WORKER_BURST=1.

    \b
    longboat worker tasks:app
    longboat worker tasks:app --include more,shop.jobs
    longboat worker shop/tasks.py -n auto -q high,low
    longboat worker --burst --max-memory 500MB

    Exit status: 0 stopped, or no job was left (--burst), 3 the app cannot be imported, or the broker is still set up wrongly
    (a wrong password, a database that is missing) when --wait-for-broker is over, 4 it still cannot be reached then.
    """
    from longboat.cli import run

    use(url)
    with usage():
        return run.worker(apps, workers=workers, scale=scale, reload=reload, log_level=log_level, **chosen)
