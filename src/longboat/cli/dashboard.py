"""`longboat dashboard`: the dashboard, for this machine, or with tokens for others."""

from __future__ import annotations

import os
import socket
import time
from typing import TYPE_CHECKING

import click

from longboat.cli.fail import BROKER, USAGE, CommandFailed, line
from longboat.cli.params import url_option, use
from longboat.cli.start import wait_for, wait_option
from longboat.core.urls import is_loopback, shown
from longboat.errors import AppNotFound, MissingExtra

if TYPE_CHECKING:
    from longboat.app import Longboat
    from longboat.dashboard.mounted import Dashboard

BACKLOG = 128
TOKENS = {
    "LONGBOAT_DASHBOARD_TOKEN": "admin",
    "LONGBOAT_DASHBOARD_OPERATOR_TOKEN": "operator",
    "LONGBOAT_DASHBOARD_VIEWER_TOKEN": "viewer",
}


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, metavar="HOST", help="The address to listen at.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=5555,
    show_default=True,
    metavar="N",
    help="The port to listen at; 0 picks a free one.",
)
@click.option(
    "--role",
    type=click.Choice(["viewer", "operator", "admin"]),
    help="Let everybody on this machine in without a token, with this role.",
)
@click.option(
    "--root", default="", metavar="PATH", help="The path under which a proxy in front shows it, such as /longboat."
)
@url_option
@wait_option
def command(url: str | None, host: str, port: int, role: str | None, root: str, wait_for_broker: float) -> None:
    """Show queues, jobs, failures, workers and more of a broker in a browser, until told to stop.

    The app's code is not needed. If it is found, tasks have forms for their parameters, whatever the broker.

    Open the link that it prints: its token is made anew at each start. To keep one, set LONGBOAT_DASHBOARD_TOKEN (may do
    everything), LONGBOAT_DASHBOARD_OPERATOR_TOKEN (everything except delete) or LONGBOAT_DASHBOARD_VIEWER_TOKEN (only
    look), and open /?token=… once, or enter the token as the password. With --role there is no token, and this machine
    only is served.

    \b
    longboat dashboard
    longboat dashboard --url redis://localhost:6379
    LONGBOAT_DASHBOARD_TOKEN=$(openssl rand -hex 24) longboat dashboard --host 0.0.0.0

    Exit status: 0 stopped, 2 wrong usage, 3 no URL is given and the app cannot be imported, 4 the address or the
    broker cannot be used.
    """
    from longboat.cli import address
    from longboat.dashboard import longboat_dashboard

    app, no_code = _app(url)
    address.refuse_memory(app.url)
    origin = "--url" if url else "LONGBOAT_URL" if os.environ.get("LONGBOAT_URL") else "the app's"
    tokens = {value: whose for name, whose in TOKENS.items() if (value := os.environ.get(name))}
    _check_bind(host, role if not tokens else None)
    dashboard = longboat_dashboard(app, tokens=tokens, local_role=None if tokens else role, no_code=no_code)
    _check_scripts()
    try:
        root = _root(root)  # needs the packages of "web", whose absence `longboat_dashboard` tells
        wait_for(app.broker, wait_for_broker, _slept, lambda: address.refuse_missing(address.Address(app.url, origin)))
        token, dashboard.token = dashboard.token, ""  # said here, and in no log
        _serve(dashboard, shown(app.url), (host, port), root, token or ("…" if tokens else ""))
    finally:
        dashboard.close()
        app.close()


def _app(url: str | None) -> tuple[Longboat, str]:
    """The app, with the broker that was asked for; and why the app's code cannot be imported, if so.

    Raises AppNotFound for code that cannot be imported if nothing else names a broker.
    """
    from longboat.app import Longboat
    from longboat.cli import address, locate

    use(url)
    try:
        found = locate.look()
    except AppNotFound as error:
        if not os.environ.get("LONGBOAT_URL"):
            address.address(None)  # it raises, with advice
        reason = str(error).partition("\n")[0]
        click.echo(f"tasks are shown by name only: {line(reason)}", err=True)
        return Longboat(), reason
    return (Longboat() if found is None else found[0]), ""


def _slept(seconds: float) -> bool:
    time.sleep(seconds)  # a signal ends the program
    return False


def _root(path: str) -> str:
    """The prefix as it stands before the dashboard's own paths: "" or "/longboat"."""
    from longboat.dashboard.screens import SCREENS

    inner = path.strip("/")
    ours = {path.split("/")[1] for _, path, _ in SCREENS} | {"static", "sign-in", "sign-out"}
    if inner and inner in ours:  # a proxy may keep the prefix or remove it, so this could mean either
        raise CommandFailed(f"--root: the dashboard has a page at /{inner}", "Choose another, such as /longboat.", USAGE)
    return f"/{inner}" if inner else ""


def _check_bind(host: str, local_role: str | None) -> None:
    if local_role is not None and not is_loopback(host):
        raise CommandFailed(
            f"with --role, everybody who reaches {host} would be let in as {local_role}",
            "Leave --role out, and sign in with a token. Or listen at 127.0.0.1.",
            USAGE,
        )


def _check_scripts() -> None:
    """A wheel has them; a checkout that was installed without npm does not, and pip does not show why."""
    from longboat import dashboard

    if not os.path.exists(os.path.join(os.path.dirname(dashboard.__file__), "static", "vendor", "uPlot.iife.min.js")):
        click.echo("no charts: uPlot is missing; `python hatch_build.py` downloads it", err=True)


def _serve(dashboard: Dashboard, broker: str, at: tuple[str, int], root: str, token: str) -> None:
    """`broker`: its URL, masked. `token`: what to print of the token, if there is one."""
    try:
        from longboat.dashboard.serving import serve
    except ModuleNotFoundError:
        raise MissingExtra("the dashboard needs more packages: pip install 'longboat[web]'") from None
    host, port = at
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((host.strip("[]"), port))
            listening.listen(BACKLOG)
        except OSError as error:
            raise CommandFailed(f"cannot listen at {host}:{port}: {error}", "Choose another --port.", BROKER) from None
        url = f"http://{host}:{listening.getsockname()[1]}{root}/"
        click.echo(f"dashboard of {broker} at {url}{f'?token={token}' if token else ''}")
        serve(dashboard, listening, root)
