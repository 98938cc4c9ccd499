"""Waiting for a result so that Ctrl-C ends it cleanly."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

LOOK = 0.2
"""Seconds: a signal that arrives just before the main thread blocks is heeded only when it wakes up."""


def awaited(call: Callable[[], T]) -> T:
    """What `call` returns or raises. It runs in a thread of its own: Ctrl-C strikes here, never in the midst of its work."""
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
