"""What a process says on its standard error. Where nobody can be told, it goes on."""

from __future__ import annotations

import contextlib
import sys


def say(text: str) -> None:
    """One line, or more."""
    with unheard():
        print(text, file=sys.stderr, flush=True)


def flush() -> None:
    """Write out what standard output and standard error hold back."""
    for stream in (sys.stdout, sys.stderr):
        with unheard():
            stream.flush()


def unheard() -> contextlib.suppress:
    """Around what writes there: the reader of a pipe may be gone, the disk full, the stream closed, replaced, or none."""
    return contextlib.suppress(OSError, ValueError, AttributeError)
