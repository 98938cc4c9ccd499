"""Finds out whether gevent or eventlet has replaced Python's threads: a worker's parts would block each other there."""

from __future__ import annotations

import _thread

from longboat.errors import ConfigError


def patched_by() -> str:
    """Who has replaced Python's threads; empty: nobody."""
    by = str(_thread.start_new_thread.__module__).partition(".")[0]
    return by if by in ("gevent", "eventlet") else ""


def check_threads() -> None:
    """Raises ConfigError."""
    if by := patched_by():
        raise ConfigError(
            f"{by} has replaced Python's threads (monkey patching), and a worker needs real ones. Patch nothing in what "
            "the worker imports, or run the worker in another program; programs that only enqueue jobs may be patched"
        )
