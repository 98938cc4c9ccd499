"""Jobs seen from outside their broker: each appends one byte to a file, which costs it less than a microsecond.

The other queues' interpreters read this file too: it imports nothing but the standard library.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

URL = "BENCH_URL"
"""The variable that tells drivers the address of the server."""
VARIABLE = "BENCH_MARKS"
LOOK = 0.001
"""Seconds between two looks at the file's size."""

_file = -1


def mark() -> None:
    """What a job does. The file is opened late, since processes are forked."""
    global _file
    if _file < 0:
        _file = os.open(os.environ[VARIABLE], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(_file, b".")


@contextlib.contextmanager
def marks() -> Iterator[Path]:
    """The file for one run. Processes started meanwhile inherit its name."""
    handle, name = tempfile.mkstemp(prefix="marks-")
    os.close(handle)
    os.environ[VARIABLE] = name
    try:
        yield Path(name)
    finally:
        del os.environ[VARIABLE]
        os.unlink(name)


def seconds(path: Path, number: int, process: subprocess.Popen[bytes], limit: float = 120.0) -> float:
    """From the last look that saw no job until the one that sees the last. Raises if the process ends before."""
    started = begun = now = time.perf_counter()
    while (seen := path.stat().st_size) < number:
        if not seen:
            begun = now
        if process.poll() is not None:
            raise RuntimeError(f"the worker ended with {process.returncode} after {seen} of {number} jobs")
        if now - started > limit:
            raise TimeoutError(f"{seen} of {number} jobs within {limit:g} s")
        time.sleep(LOOK)
        now = time.perf_counter()
    return now - begun
