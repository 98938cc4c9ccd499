"""What the running program does with records of `logging` by itself."""

from __future__ import annotations

import logging
import sys
import threading
from typing import Any

import msgspec

JOB, TASK = "longboat_job", "longboat_task"
"""Attributes of records that were made while a job ran: its id, and its task's name."""


_USUAL = frozenset({*vars(logging.makeLogRecord({})), "message", "asctime"})


def extra(record: logging.LogRecord) -> dict[str, Any]:
    """What was added to a record: by `extra=`, or about its job."""
    return {name: value for name, value in vars(record).items() if name not in _USUAL}


def plain(value: Any) -> Any:
    """It as JSON can carry it: what cannot be plain data is what repr says of it."""
    try:
        return msgspec.json.decode(msgspec.json.encode(value, enc_hook=repr))
    except Exception:  # a loop, a lone surrogate, a __repr__ that fails
        return ascii(value) if isinstance(value, str) else f"<{type(value).__qualname__}>"


def has_handlers(record: logging.LogRecord) -> bool:
    """Whether its logger, or one between that and the root, has handlers of its own: the root's need not repeat it."""
    logger: logging.Logger | None = logging.getLogger(record.name)
    while logger is not None and logger.parent is not None:
        if any(not isinstance(handler, logging.NullHandler) for handler in logger.handlers):
            return True
        logger = logger.parent
    return False


def log_what_python_tells() -> None:
    """Log the ends of threads by exceptions, exceptions in finalizers, and warnings.

    Python would write them to standard error, as text that may hold anything, between the lines of the log.
    """
    threading.excepthook = _thread_failed
    sys.unraisablehook = _ignored
    logging.captureWarnings(True)


def _thread_failed(args: threading.ExceptHookArgs) -> None:
    if args.exc_type is SystemExit or args.exc_value is None:
        return
    name = args.thread.name if args.thread else "unknown"
    logging.getLogger("longboat.worker").error("thread %s ended with an exception", name, exc_info=args.exc_value)


def _ignored(args: Any) -> None:
    what = args.err_msg or "exception ignored in"
    logging.getLogger("longboat.worker").error("%s %r", what, args.object, exc_info=args.exc_value)
