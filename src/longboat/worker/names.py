"""The names of the workers in this process: unique here, and such as people type."""

from __future__ import annotations

import os
import socket
import threading
from itertools import count
from weakref import WeakValueDictionary

_taken: WeakValueDictionary[str, object] = WeakValueDictionary()
_lock = threading.Lock()


def take(owner: object) -> str:
    """Host and process id, and a number if others here have that name: the owner's until `release`, or until it is gone."""
    process = f"{socket.gethostname()}:{os.getpid()}"
    with _lock:
        name = next(name for n in count(1) if (name := process if n == 1 else f"{process}-{n}") not in _taken)
        _taken[name] = owner
    return name


def release(name: str) -> None:
    with _lock:
        _taken.pop(name, None)
