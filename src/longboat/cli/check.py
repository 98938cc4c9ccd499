"""`longboat check`: a probe."""

from __future__ import annotations

import click

from longboat.cli.fail import DONE, UNHEALTHY, CommandFailed
from longboat.cli.params import duration, url_option

VARIABLES = ["LONGBOAT_CHECK_HEALTH_PORT", "LONGBOAT_WORKER_HEALTH_PORT"]


@click.command()
@click.option(
    "--health-port",
    type=click.IntRange(1, 65535),
    envvar=VARIABLES,
    metavar="PORT",
    help="Ask the worker process that has this port on this machine. Also LONGBOAT_WORKER_HEALTH_PORT.",
)
@click.option("--ready", is_flag=True, help="Ask whether it takes jobs now, rather than whether it lives.")
@click.option("--timeout", type=duration, default="5s", show_default=True, metavar="TIME", help="How long it may take.")
@url_option
def command(health_port: int | None, ready: bool, timeout: float, url: str | None) -> int:
    """Ask whether a worker is healthy: for container probes and monitoring.

    With --health-port its page is asked: does it live (its heartbeat is fresh; a broker that is down is no fault of
    its own), or with --ready: does it take jobs, and does its broker answer. Without, the broker is asked: does it
    answer, and does a worker of this machine show itself.

    Exit status: 0 healthy, 5 unhealthy.
    """
    path = "/readyz" if ready else "/livez"
    click.echo(_records(url) if health_port is None else _page(health_port, path, timeout))
    return DONE


def _page(port: int, path: str, timeout: float) -> str:
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        text = answer.read(1000).decode(errors="replace").strip()
    except (OSError, http.client.HTTPException) as error:
        raise CommandFailed(
            f"nothing answers at port {port}: {error}", "Start one by `longboat worker --health-port PORT`.", UNHEALTHY
        ) from None
    finally:
        connection.close()
    if answer.status != 200:
        raise CommandFailed(f"the worker is unhealthy: {text}", "See its log.", UNHEALTHY)
    return text


def _records(url: str | None) -> str:
    import socket

    from longboat.cli.address import opened
    from longboat.errors import BrokerError
    from longboat.observe.history import workers

    host = socket.gethostname()
    try:
        with opened(url) as broker:
            here = [record for record in workers(broker.kv) if record.host == host]
    except BrokerError as error:
        raise CommandFailed(f"the broker fails: {error}", "`longboat doctor` looks into it.", UNHEALTHY) from None
    except CommandFailed as error:
        raise CommandFailed(error.what, error.advice, UNHEALTHY) from None
    if not here:
        advice = "Start one by `longboat worker`; `longboat workers` lists those elsewhere."
        raise CommandFailed(f"no worker of {host} shows itself", advice, UNHEALTHY)
    return f"ok: {len(here)} worker process{'' if len(here) == 1 else 'es'} here"
