"""`longboat dashboard`: the dashboard, for this machine, or with tokens for others."""

from __future__ import annotations

import contextlib
import os
import signal
from typing import TYPE_CHECKING

import click

from longboat.cli.fail import BROKER, USAGE, CommandFailed, line
from longboat.errors import AppNotFound, MissingExtra, Unsupported

if TYPE_CHECKING:
    from longboat.app import Longboat

BACKLOG = 128
TOKENS = {
    "LONGBOAT_DASHBOARD_TOKEN": "admin",
    "LONGBOAT_DASHBOARD_OPERATOR_TOKEN": "operator",
    "LONGBOAT_DASHBOARD_VIEWER_TOKEN": "viewer",
}


@click.command()
@click.argument("url", required=False)
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
    default="admin",
    show_default=True,
    help="The role of everybody on this machine, if there are no tokens.",
)
@click.option(
    "--root", default="", metavar="PATH", help="The part of the path that a proxy in front removes, such as /jobs."
)
def command(url: str | None, host: str, port: int, role: str, root: str) -> None:
    """Show queues, jobs, failures, workers and more of the broker at URL in a browser, until told to stop.

    URL is that of a broker, such as redis://…; else LONGBOAT_URL, else the app's, else sqlite:///longboat.db. The app's
    code is not needed. If it is found, tasks have forms for their parameters, whatever the broker.

    Without tokens it serves this machine only. With LONGBOAT_DASHBOARD_TOKEN one may do everything, with
    LONGBOAT_DASHBOARD_OPERATOR_TOKEN everything except delete, with LONGBOAT_DASHBOARD_VIEWER_TOKEN only look. Open
    /?token=… once, or enter the token as the password.

    \b
    longboat dashboard
    longboat dashboard redis://localhost:6379
    LONGBOAT_DASHBOARD_TOKEN=$(openssl rand -hex 24) longboat dashboard --host 0.0.0.0

    Exit status: 0 stopped, 2 wrong usage, 3 no URL is given and the app cannot be imported, 4 the address or the
    broker cannot be used.
    """
    from longboat.cli import address
    from longboat.dashboard import longboat_dashboard

    app, no_code = _app(url)
    address.refuse_memory(app.url)
    tokens = {value: whose for name, whose in TOKENS.items() if (value := os.environ.get(name))}
    dashboard = longboat_dashboard(app, tokens=tokens, local_role=role, no_code=no_code)
    _check_bind(host, bool(tokens))
    _check_scripts()
    root = f"/{path}" if (path := root.strip("/")) else ""
    try:
        with contextlib.suppress(Unsupported):
            app.broker.inspector.counts()  # report a store that cannot be used now
        _serve(dashboard, app, host, port, root, bool(tokens))
    finally:
        dashboard.close()
        app.close()


def _app(url: str | None) -> tuple[Longboat, str]:
    """The app, with the broker that was asked for; and why the app's code cannot be imported, if so.

    Raises AppNotFound for code that cannot be imported if nothing else names a broker.
    """
    from longboat.app import Longboat
    from longboat.cli import address, locate

    said = url or os.environ.get("LONGBOAT_URL")
    try:
        found = locate.look()
    except AppNotFound as error:
        if not said:
            return Longboat(address.address(None).url), ""  # it raises, with advice
        reason = str(error).partition("\n")[0]
        click.echo(f"tasks are shown by name only: {line(reason)}", err=True)
        return Longboat(said), reason
    if found is None:
        return Longboat(said), ""
    app = found[0]
    if said and said != app.url:
        app.close()  # its module may have used it
        app.url = said
    return app, ""


def _check_bind(host: str, guarded: bool) -> None:
    from longboat.core.urls import is_loopback

    if not guarded and not is_loopback(host):
        raise CommandFailed(
            f"without a token, everybody who reaches {host} could change everything",
            "Set one: LONGBOAT_DASHBOARD_TOKEN=$(openssl rand -hex 24). Or listen at 127.0.0.1.",
            USAGE,
        )


def _check_scripts() -> None:
    """A wheel has them; a checkout that was installed without npm does not, and pip does not show why."""
    from longboat import dashboard

    if not os.path.exists(os.path.join(os.path.dirname(dashboard.__file__), "static", "vendor", "htmx.min.js")):
        click.echo(
            "no charts and no live pages: htmx and uPlot are missing; `python hatch_build.py` downloads them", err=True
        )


def _serve(dashboard: object, app: Longboat, host: str, port: int, root: str, guarded: bool) -> None:
    try:
        import uvicorn
    except ModuleNotFoundError:
        raise MissingExtra("the dashboard needs more packages: pip install 'longboat[web]'") from None
    import socket

    from longboat.core.urls import shown

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((host.strip("[]"), port))
            listening.listen(BACKLOG)
        except OSError as error:
            raise CommandFailed(f"cannot listen at {host}:{port}: {error}", "Choose another --port.", BROKER) from None
        at = f"http://{host}:{listening.getsockname()[1]}{root}/"
        click.echo(f"dashboard of {shown(app.url)} at {at}{'?token=…' if guarded else ''}")
        config = uvicorn.Config(
            dashboard,  # type: ignore[arg-type]  # its own kind of ASGI type
            root_path=root,
            log_level="warning",
            access_log=False,
            server_header=False,
            lifespan="off",
            timeout_graceful_shutdown=2,
        )
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)  # the server handles them, then restores ours and raises them again
        uvicorn.Server(config).run(sockets=[listening])
