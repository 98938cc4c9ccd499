"""Waiting for a result so that Ctrl-C ends it cleanly, and so that nobody wonders what it waits for."""

from __future__ import annotations

import math
import threading
from contextlib import suppress
from typing import TypeVar

import click

from longboat.cli.fail import line
from longboat.core.clock import SYSTEM
from longboat.errors import LongboatError
from longboat.tasks.handle import Handle

T = TypeVar("T")

LOOK = 0.2
"""Seconds: a signal that arrives just before the main thread blocks is only noticed when the thread wakes up."""

TOLD = 2.0
"""Seconds after which to say why the job has not ended."""


def result_of(handle: Handle[T], timeout: float | None) -> T:
    """Its result. It is waited for in another thread: Ctrl-C interrupts the waiting, never the call itself.

    Why the job has not ended after two seconds is told on standard error. Raises as `Handle.result`.
    """
    returned: list[T] = []
    raised: list[BaseException] = []
    over = threading.Event()

    def run() -> None:
        try:
            returned.append(handle.result(timeout))
        except BaseException as error:
            raised.append(error)
        finally:
            over.set()

    threading.Thread(target=run, name="longboat-wait", daemon=True).start()
    tell_at = SYSTEM.monotonic() + TOLD if timeout is None or timeout > TOLD else math.inf
    while not over.wait(LOOK):
        if SYSTEM.monotonic() >= tell_at:
            tell_at = math.inf
            with suppress(LongboatError):  # whoever waits hears of it too
                click.echo(line(f"Waiting: {handle.client.why(handle.id)}."), err=True)
    if raised:
        raise raised[0]
    return returned[0]
