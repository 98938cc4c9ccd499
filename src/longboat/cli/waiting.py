"""Waiting for a result so that Ctrl-C ends it cleanly."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

LOOK = 0.2
"""Seconds: a signal that arrives just before the main thread blocks is only noticed when the thread wakes up."""


def interruptible(call: Callable[[], T]) -> T:
    """What `call` returns or raises. It runs in its own thread: Ctrl-C interrupts the waiting, never the call itself."""
    returned: list[T] = []
    raised: list[BaseException] = []
    over = threading.Event()

    def run() -> None:
        try:
            returned.append(call())
        except BaseException as error:
            raised.append(error)
        finally:
            over.set()

    threading.Thread(target=run, name="longboat-wait", daemon=True).start()
    while not over.wait(LOOK):
        pass
    if raised:
        raise raised[0]
    return returned[0]
