"""Signals that must not end this process, but end those that it forks or starts."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType

Handler = Callable[[int, FrameType | None], object]


def shield(*signals: signal.Signals, handler: Handler = lambda *_: None) -> None:
    """Handle these signals here, in the main thread; by default they are harmless."""
    for number in signals:
        # A handler of our own rather than SIG_IGN, which programs started from here would inherit.
        signal.signal(number, handler)
        signal.siginterrupt(number, False)
    masks = threading.local()

    def hold() -> None:
        masks.saved = signal.pthread_sigmask(signal.SIG_BLOCK, signals)

    def let_go() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, masks.saved)

    def let_go_unshielded() -> None:
        for number in signals:
            if signal.getsignal(number) is handler:
                signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        let_go()

    # Blocked meanwhile, so that a signal sent right after the fork is not lost in `handler`.
    os.register_at_fork(before=hold, after_in_parent=let_go, after_in_child=let_go_unshielded)
