"""`longboat check`: a probe."""

from __future__ import annotations

import click

from longboat.cli.address import opened
from longboat.cli.fail import DONE, UNHEALTHY, CommandFailed
from longboat.cli.params import duration, url_option
from longboat.core.text import counted
from longboat.errors import BrokerError
from longboat.observe.history import workers

VARIABLES = ["LONGBOAT_CHECK_HEALTH_PORT", "LONGBOAT_WORKER_HEALTH_PORT"]


@click.command()
@click.option(
    "--health-port",
    type=click.IntRange(1, 65535),
    envvar=VARIABLES,
    metavar="PORT",
    help="Ask the worker process with this health port on this machine. Also LONGBOAT_WORKER_HEALTH_PORT.",
)
@click.option("--ready", is_flag=True, help="Ask whether it takes jobs, rather than whether it is alive.")
@click.option("--timeout", type=duration, default="5s", show_default=True, metavar="TIME", help="Wait no longer than this.")
@url_option
def command(health_port: int | None, ready: bool, timeout: float, url: str | None) -> int:
    """Check whether a worker is healthy: for container probes and monitoring.

    With --health-port, ask the worker process itself: whether it is alive (its heartbeat is fresh; it stays alive while the
    broker is down), or with --ready whether it takes jobs and its broker answers. Without, ask the broker: whether it
    answers, and whether a worker on this machine has sent a heartbeat.

    Exit status: 0 healthy, 5 unhealthy.
    """
    click.echo(_records(url) if health_port is None else _page(health_port, "/readyz" if ready else "/livez", timeout))
    return DONE


def _page(port: int, path: str, timeout: float) -> str:
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        text = answer.read(1000).decode(errors="replace").strip()
    except (OSError, http.client.HTTPException) as error:
        advice = "Start a worker with `longboat worker --health-port PORT`."
        raise CommandFailed(f"nothing answers at port {port}: {error}", advice, UNHEALTHY) from None
    finally:
        connection.close()
    if answer.status != 200:
        raise CommandFailed(f"the worker is unhealthy: {text}", "See its log.", UNHEALTHY)
    return text


def _records(url: str | None) -> str:
    import socket

    host = socket.gethostname()
    try:
        with opened(url) as broker:
            here = [record for record in workers(broker.kv) if record.host == host]
    except BrokerError as error:
        what, _, advice = str(error).partition("\n")
        raise CommandFailed(f"the broker fails: {what}", advice or "`longboat doctor` finds out more.", UNHEALTHY) from None
    except CommandFailed as error:
        raise CommandFailed(error.what, error.advice, UNHEALTHY) from None
    if not here:
        advice = "Start one with `longboat worker`; `longboat workers` lists those on other machines."
        raise CommandFailed(f"no worker of {host} has sent a heartbeat", advice, UNHEALTHY)
    return f"ok: {counted(len(here), 'worker process')} here"
