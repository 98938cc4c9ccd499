"""`python -m bench.rabbitmq [name…] [--repeat 3] [--quick]`: measure, print a table, write it to bench/results/."""

from __future__ import annotations

import sys

from bench.chart import speeds
from bench.command import measure
from bench.peers.beside import bars
from bench.rabbitmq.peers_beside import OURS
from bench.rabbitmq.server import version
from bench.report import Edition, Found

NAMES = ("calls", "singles", "watched", "stores", "peers_beside")


def peers(found: Found) -> str | None:
    if "peers_beside" not in found:
        return None
    shown = [one for one in found["peers_beside"] if not one.peer]
    return speeds("No-op jobs a second on RabbitMQ, one worker process", bars(shown, OURS))


def main() -> int:
    charts = {"rabbitmq-peers.svg": peers}
    edition = Edition("rabbitmq", "RabbitMQ", "bench/rabbitmq/limit.py", ("RabbitMQ", version()), charts)
    return measure("bench.rabbitmq", NAMES, edition)


if __name__ == "__main__":
    sys.exit(main())
