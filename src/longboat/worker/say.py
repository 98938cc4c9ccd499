"""What a process says on its standard error. Where nobody can be told, it goes on."""

from __future__ import annotations

import contextlib
import logging
import sys

from longboat.observe.logs import JsonFormatter, LogFormat

_json: list[JsonFormatter] = []
"""One once lines are to be JSON, in this process and those forked from it."""


def say_as(form: LogFormat) -> None:
    """Say what follows in the format of the log."""
    _json[:] = [JsonFormatter()] if form == "json" else []


def say(text: str, *, level: int = logging.INFO) -> None:
    """One line, or more."""
    with unheard():
        for formatter in _json:
            text = formatter.format(logging.LogRecord("longboat.supervisor", level, "", 0, text, None, None))
        print(text, file=sys.stderr, flush=True)


def flush() -> None:
    """Write out what standard output and standard error hold back."""
    for stream in (sys.stdout, sys.stderr):
        with unheard():
            stream.flush()


def unheard() -> contextlib.suppress:
    """Around what writes there: the reader of a pipe may be gone, the disk full, the stream closed, replaced, or none."""
    return contextlib.suppress(OSError, ValueError, AttributeError)
