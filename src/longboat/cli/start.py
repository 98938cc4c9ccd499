"""The start of what serves until it is stopped: it waits for a broker that is not there yet."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

import click

from longboat.cli.fail import line
from longboat.cli.params import duration
from longboat.contract.broker import Broker
from longboat.errors import BrokerUnavailable, Unsupported
from longboat.worker.say import say

PAUSE = 1.0
"""Seconds between two tries."""
TOLD_EVERY = 5.0
"""Seconds between two lines that say what is waited for."""

wait_option = click.option(
    "--wait-for-broker",
    type=duration,
    default="60s",
    show_default=True,
    metavar="DURATION",
    help="How long to wait at the start for a broker, user, database or virtual host that is not there yet; 0: not at all.",
)


def wait_for(
    broker: Broker, patience: float, stopped: Callable[[float], bool], check: Callable[[], None] = lambda: None
) -> bool:
    """Wait until the broker answers, for `patience` seconds; then raises BrokerUnavailable.

    `stopped` waits for so many seconds, and says whether to give up: False is returned then. `check` raises
    BrokerUnavailable while the broker is not to be asked.
    """
    until, tell = time.monotonic() + patience, 0.0
    while True:
        try:
            check()
            with contextlib.suppress(Unsupported):  # it answers, even if it cannot count
                broker.inspector.counts()
        except BrokerUnavailable as error:
            now = time.monotonic()
            if now >= until:
                raise
            if now >= tell:
                tell = now + TOLD_EVERY
                say(f"longboat: waiting for the broker, {until - now:.0f} s at most: {line(str(error))}")
            if stopped(min(PAUSE, until - now)):
                return False
        else:
            return True
