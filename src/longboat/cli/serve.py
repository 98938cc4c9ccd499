"""`longboat serve`: publish a store to other machines."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING

import click

from longboat.cli import show
from longboat.cli.fail import BROKER, USAGE, CommandFailed
from longboat.cli.params import json_option
from longboat.cli.start import wait_for, wait_option
from longboat.core.urls import is_loopback

if TYPE_CHECKING:
    from longboat.brokers.manager import Server
    from longboat.contract.broker import Broker

BIND = "127.0.0.1:5000"
LOOK = 0.5
"""Seconds: a signal that arrives just before the main thread blocks is only noticed when the thread wakes up."""


def place(value: str | tuple[str, int]) -> tuple[str, int]:
    """Host and port, from 0.0.0.0:5000 or [::]:5000."""
    if isinstance(value, tuple):
        return value
    host, separator, port = value.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not separator or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise click.BadParameter(f"{value!r} is not an address such as 127.0.0.1:5000 or 0.0.0.0:5000.")
    return host, int(port)


@click.command(context_settings={"show_default": True})
@click.option(
    "--bind", type=place, default=BIND, metavar="HOST:PORT", help="The address to listen at; port 0 picks a free one."
)
@click.option(
    "--store", default="sqlite:///longboat.db", metavar="URL", help="The store of the jobs: sqlite:/// or memory://."
)
@click.option(
    "--authkey-file", metavar="FILE", help="A file with the key that clients must have. Default: LONGBOAT_AUTHKEY."
)
@wait_option
@json_option
def command(bind: tuple[str, int], store: str, authkey_file: str | None, wait_for_broker: float, as_json: bool) -> None:
    """Publish a store to other machines, until told to stop.

    Producers and workers then need nothing but Longboat. Their URL is manager://HOST:PORT, with the same key in
    LONGBOAT_AUTHKEY or by ?authkey_file=FILE. To serve other machines the key must have 32 bytes or more:
    `openssl rand -hex 32 > key`. Every message is authenticated, none is encrypted.

    TERM or Ctrl-C: hand back the jobs that workers hold, and exit. The workers continue when it is started again.

    \b
    longboat serve --authkey-file key
    longboat serve --bind 0.0.0.0:5000 --store sqlite:///queue.db --authkey-file key

    Exit status: 0 stopped, 2 wrong usage, 3 the store is set up wrongly, 4 the address or the
    store cannot be used.
    """
    from longboat.connect import connect
    from longboat.core.urls import shown

    key = _key(bind[0], authkey_file)
    broker = connect(store)
    over = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: over.set())
    try:
        if not wait_for(broker, wait_for_broker, over.wait):
            broker.close()
            return
        server = _listen(broker, bind, key)
    except BaseException:
        broker.close()
        raise
    with server:
        _announce(server, shown(store), as_json)
        while not over.wait(LOOK):
            pass


def _key(host: str, path: str | None) -> bytes:
    from longboat.brokers.manager import authkey

    key = authkey.authkey(path)
    if path is not None and authkey.open_to_others(path):
        click.echo(f"Warning: other users can read or change {path}: `chmod 600 {path}`.", err=True)
    if len(key) < authkey.SAFE and not is_loopback(host):
        raise CommandFailed(
            f"a key of {len(key)} bytes is too short to listen at {host}; it needs at least {authkey.SAFE}",
            "Make one: `openssl rand -hex 32 > key`. Or listen at 127.0.0.1.",
            USAGE,
        )
    return key


def _listen(broker: Broker, bind: tuple[str, int], key: bytes) -> Server:
    import logging

    from longboat.brokers.manager import Server

    logging.basicConfig(level="INFO", format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    host, port = bind
    try:
        return Server(broker, bind, key)
    except OSError as error:
        raise CommandFailed(
            f"cannot listen at {host}:{port}: {error.strerror or error}",
            "Is another server running there? Choose another address with --bind.",
            BROKER,
        ) from None


def _announce(server: Server, store: str, as_json: bool) -> None:
    host, port = server.address
    url = f"manager://[{host}]:{port}" if ":" in host else f"manager://{host}:{port}"
    click.echo(show.to_json({"url": url, "store": store}) if as_json else f"serving {store} at {url}")
