"""Refuses to work where gevent or eventlet has replaced Python's threads: the parts of a worker would block each other."""

from __future__ import annotations

import _thread

from longboat.errors import ConfigError


def check_threads() -> None:
    """Raises ConfigError."""
    by = str(_thread.start_new_thread.__module__).partition(".")[0]
    if by in ("gevent", "eventlet"):
        raise ConfigError(
            f"{by} has replaced Python's threads (monkey patching), and a worker needs real ones. Patch nothing in what "
            "the worker imports, or run the worker in another program; programs that only enqueue jobs may be patched"
        )
