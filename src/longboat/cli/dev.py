"""`longboat dev`: a worker and the dashboard, both restarted when the code changes.

Run as a program, this module is the dashboard's process.
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from types import FrameType
from typing import NoReturn

import click

from longboat.cli.dashboard import TOKENS
from longboat.cli.params import url_option, use

NEEDED = ("starlette", "uvicorn", "jinja2")
"""What the dashboard imports from the extra "web"."""
LAST_CHANCE = 5.0
"""Seconds until the dashboard is killed after it was asked to exit."""


@click.command()
@click.argument("app", required=False)
@click.option("--port", type=click.IntRange(1, 65535), metavar="N", help="The dashboard's port. Default: 5555.")
@url_option
def command(app: str | None, port: int | None, url: str | None) -> int:
    """Run a worker and the dashboard, and restart both when a source file changes, until Ctrl-C.

    The worker also fires the schedules. The dashboard is at http://127.0.0.1:5555: open the link that it prints, whose token
    is good until you stop it. If its packages are not installed, it says which, and the worker runs alone.

    Set options of the two by variables: LONGBOAT_WORKER_QUEUES=high,low, LONGBOAT_DASHBOARD_ROLE=viewer.

    \b
    longboat dev
    longboat dev shop/tasks.py:app --port 8000

    Exit status: the worker's: 0 stopped, 4 the broker cannot be reached at the start.
    """
    from longboat.cli import worker

    use(url)
    if app is not None:
        os.environ["LONGBOAT_APP"] = app
    if port is not None:
        os.environ["LONGBOAT_DASHBOARD_PORT"] = str(port)
    with _dashboard():
        context = worker.command.make_context("worker", ["--reload"], auto_envvar_prefix="LONGBOAT_WORKER")
        with context:
            status: int = worker.command.invoke(context)
    return status


@contextmanager
def _dashboard() -> Iterator[None]:
    """The dashboard beside us, in its own session: Ctrl-C goes to the worker, whose end can then be watched."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        click.echo(f"no dashboard: {', '.join(missing)} not installed (pip install 'longboat[web]')", err=True)
        yield
        return
    if not {*TOKENS, "LONGBOAT_DASHBOARD_ROLE"} & os.environ.keys():
        os.environ["LONGBOAT_DASHBOARD_TOKEN"] = token = secrets.token_urlsafe(24)  # one for all its restarts
        click.echo(f"sign in at http://127.0.0.1:{os.environ.get('LONGBOAT_DASHBOARD_PORT', '5555')}/?token={token}")
    # It exits when its standard input ends, so also when we are killed.
    process = subprocess.Popen([sys.executable, "-m", __name__], stdin=subprocess.PIPE, start_new_session=True)
    assert process.stdin is not None
    try:
        yield
    finally:
        process.stdin.close()
        try:
            process.wait(LAST_CHANCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


# --- the dashboard's process


def main() -> NoReturn:
    """Run `longboat dashboard`, again whenever the code changes, even if it could not run before."""
    from longboat.cli.reload import Watcher

    changed = threading.Event()

    def change() -> None:
        changed.set()
        os.kill(os.getpid(), signal.SIGTERM)

    signal.signal(signal.SIGTERM, _leave)
    threading.Thread(target=_follow, name="longboat-parent", daemon=True).start()
    Watcher().start(change)
    try:
        _serve()
    except SystemExit:
        if not changed.is_set():
            raise
    os.execv(sys.executable, [sys.executable, "-m", "longboat.cli.dev"])


def _serve() -> None:
    from longboat.cli.main import main as longboat

    sys.argv = ["longboat", "dashboard"]
    try:
        longboat()
    except SystemExit as left:
        if not left.code:
            raise
    threading.Event().wait()  # the app cannot be imported, for example: wait until something changes


def _leave(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001  # as its protocol has it
    raise SystemExit(0)


def _follow() -> None:
    """Exit together with the process that started us."""
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
