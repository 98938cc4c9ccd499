"""What a timed job does, whatever queue it came by: it notes when it was due and when it started.

The other queues' interpreters read this file too: it imports nothing but the standard library.
"""

from __future__ import annotations

import os
import struct
import time
from pathlib import Path

from bench.peers.marks import VARIABLE

_NOTE = struct.Struct("dd")
SIZE = _NOTE.size

_file = -1


def note(due: float) -> None:
    """`due`: by the monotonic clock, which all processes of a Linux machine share."""
    global _file
    now = time.monotonic()
    if _file < 0:
        _file = os.open(os.environ[VARIABLE], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(_file, _NOTE.pack(due, now))


def started(path: Path) -> int:
    """Jobs that have."""
    return path.stat().st_size // SIZE


def notes(path: Path) -> list[tuple[float, float]]:
    """Of each job that has started, when it was due, and when that was."""
    return list(_NOTE.iter_unpack(path.read_bytes()))
