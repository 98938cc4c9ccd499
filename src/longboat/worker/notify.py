"""Tells systemd, if it asked for it, that the worker is up, is alive, is stopping (see sd_notify(3))."""

from __future__ import annotations

import os
import socket
import time

READY = "READY=1"
STOPPING = "STOPPING=1"
WATCHDOG = "WATCHDOG=1"

_last = 0.0


def notify(state: str) -> None:
    """Tell it; WATCHDOG once a second at most. Does nothing if the environment names no NOTIFY_SOCKET. Never raises."""
    global _last
    path = os.environ.get("NOTIFY_SOCKET")
    if not path or (state == WATCHDOG and time.monotonic() - _last < 1.0):
        return
    if state == WATCHDOG:
        _last = time.monotonic()
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            sock.setblocking(False)
            sock.sendto(state.encode(), "\0" + path[1:] if path.startswith("@") else path)
    except OSError:
        return  # it is gone or busy: the next time will do
