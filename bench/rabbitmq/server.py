"""A RabbitMQ node of our own, its data in a temporary folder on a disk, and what empties it between runs."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pika

from tests.rigs.servers.rabbitmq import RabbitmqServer, available


@contextlib.contextmanager
def server() -> Iterator[RabbitmqServer]:
    """Quorum queues write each message to its disk before they confirm it."""
    if why := available():
        raise RuntimeError(why)
    folder = Path(tempfile.mkdtemp(prefix="longboat-bench-", dir="/var/tmp"))
    try:
        with RabbitmqServer(folder) as made:
            yield made
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def emptied(made: RabbitmqServer) -> str:
    """The server's address, with no queue in it."""
    queues = made.ctl("list_queues", "--quiet", "--no-table-headers", "name").splitlines()
    with contextlib.closing(pika.BlockingConnection(pika.URLParameters(made.url))) as connection:
        channel = connection.channel()
        for name in queues:
            channel.queue_delete(name)
    return made.url


def version() -> str:
    """Of the server, and of the client that everything of ours uses."""
    with server() as made:
        said = made.ctl("version").strip()
    return f"{said} (one node, quorum queues, on a disk), pika {metadata.version('pika')}"
