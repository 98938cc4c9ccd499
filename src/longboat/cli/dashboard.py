"""`longboat dashboard`: the pages, for this machine or with tokens for others."""

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
@click.option("--host", default="127.0.0.1", show_default=True, metavar="HOST", help="Where to listen.")
@click.option("--port", type=click.IntRange(0, 65535), default=5555, show_default=True, metavar="N", help="0: a free one.")
@click.option(
    "--role",
    type=click.Choice(["viewer", "operator", "admin"]),
    default="admin",
    show_default=True,
    help="What those without a token may do, on this machine.",
)
@click.option("--root", default="", metavar="PATH", help="What a proxy before it takes off the path, such as /jobs.")
def command(url: str | None, host: str, port: int, role: str, root: str) -> None:
    """Show queues, jobs, failures, workers and more of the broker at URL in a browser, until told to stop.

    URL is a broker's, such as redis://…; else LONGBOAT_URL, else the app's, else sqlite:///longboat.db. The app's code is
    not needed; where it is found, tasks get forms for their parameters, whatever broker is looked at.

    Without tokens it listens on this machine only. LONGBOAT_DASHBOARD_TOKEN is a secret that lets its bearer do everything,
    LONGBOAT_DASHBOARD_OPERATOR_TOKEN all but delete, LONGBOAT_DASHBOARD_VIEWER_TOKEN look: open /?token=… once, or give it
    as the password when asked.

    \b
    longboat dashboard
    longboat dashboard redis://localhost:6379
    LONGBOAT_DASHBOARD_TOKEN=$(openssl rand -hex 24) longboat dashboard --host 0.0.0.0

    Exit status: 0 after a stop, 2 wrong usage, 3 no URL is said and the app cannot be imported, 4 the address or the
    broker cannot be had.
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
            app.broker.inspector.counts()  # a store that cannot be worked with is told now
        _serve(dashboard, app, host, port, root, bool(tokens))
    finally:
        dashboard.close()
        app.close()


def _app(url: str | None) -> tuple[Longboat, str]:
    """The app, at the broker that was said; and why its code is not here where it should be.

    Raises AppNotFound for code that cannot be imported when nothing else says which broker is meant.
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
        click.echo(f"tasks go by name alone: {line(reason)}", err=True)
        return Longboat(said), reason
    if found is None:
        return Longboat(said), ""
    app = found[0]
    if said and said != app.url:
        app.close()  # its module may have used it
        app.url = said
    return app, ""


def _check_bind(host: str, guarded: bool) -> None:
    from longboat.dashboard.guard import is_loopback

    if not guarded and not is_loopback(host):
        raise CommandFailed(
            f"others could change everything at {host}: without a token only this machine is served",
            "Set one: LONGBOAT_DASHBOARD_TOKEN=$(openssl rand -hex 24). Or listen at 127.0.0.1.",
            USAGE,
        )


def _check_scripts() -> None:
    """A wheel has them; a checkout installed where there was no npm has not, and pip does not show why."""
    from longboat import dashboard

    if not os.path.exists(os.path.join(os.path.dirname(dashboard.__file__), "static", "vendor", "htmx.min.js")):
        click.echo("no charts and no live pages: htmx and uPlot are not here; `python hatch_build.py` brings them", err=True)


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
            signal.signal(number, lambda *_: None)  # the server heeds them, then sends them once more to whoever did before
        uvicorn.Server(config).run(sockets=[listening])
