"""Where tests and their servers keep their files: in memory where there is plenty, since a disk takes milliseconds to sync.

What a killed process has written is as safe there: it is the machine that must not fall.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

IN_MEMORY = Path("/dev/shm")
NEEDED = 8_000_000_000
"""Bytes that must be free there and in the machine: a whole run has used 3 GB."""


def choose() -> None:
    """Unless the user has chosen one, by TMPDIR."""
    if "TMPDIR" not in os.environ and _is_good(IN_MEMORY):
        os.environ["TMPDIR"] = tempfile.tempdir = str(IN_MEMORY)


def _is_good(folder: Path) -> bool:
    try:
        there = os.statvfs(folder)
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = {name: value.split() for name, _, value in (line.partition(":") for line in lines)}
        memory = int(free["MemAvailable"][0]) * 1024
    except (OSError, KeyError, ValueError, IndexError):
        return False  # another system than Linux
    if there.f_flag & os.ST_NOEXEC or not os.access(folder, os.W_OK):
        return False  # tests install programs there
    return min(there.f_bavail * there.f_frsize, memory) >= NEEDED
