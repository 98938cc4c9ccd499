"""The terminal that a program was started on, and whether somebody has closed it since."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import termios

CONTROLLING = "/dev/tty"


class Terminal:
    """Made at the start of the program, before it handles SIGHUP.

    A program that was told to ignore SIGHUP (nohup) has none to lose, and neither has a daemon.
    """

    def __init__(self) -> None:
        self._had = signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN and _there()

    def meant(self, number: int) -> int:
        """The signal that this one means: TERM for the first HUP that tells that the terminal was closed, else itself."""
        if number == signal.SIGHUP and self._had and not _there():
            self._had = False
            let_go()
            return signal.SIGTERM
        return number


def _there() -> bool:
    try:
        os.close(os.open(CONTROLLING, os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def let_go() -> None:
    """Have what goes to a terminal that was closed go nowhere: else whoever prints would fail."""
    for fd in (0, 1, 2):
        try:
            termios.tcgetattr(fd)
        except termios.error as error:
            if error.args[0] == errno.EIO:
                with contextlib.suppress(OSError):
                    nowhere = os.open(os.devnull, os.O_RDWR)
                    os.dup2(nowhere, fd)
                    os.close(nowhere)
