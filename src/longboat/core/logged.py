"""What the running program does with records of `logging` by itself."""

from __future__ import annotations

import logging
from typing import Any

JOB, TASK = "longboat_job", "longboat_task"
"""Attributes of records that were made while a job ran: its id, and its task's name."""


_USUAL = frozenset({*vars(logging.makeLogRecord({})), "message", "asctime"})


def extra(record: logging.LogRecord) -> dict[str, Any]:
    """What was added to a record: by `extra=`, or about its job."""
    return {name: value for name, value in vars(record).items() if name not in _USUAL}


def has_handlers(record: logging.LogRecord) -> bool:
    """Whether its logger, or one between that and the root, has handlers of its own: the root's need not repeat it."""
    logger: logging.Logger | None = logging.getLogger(record.name)
    while logger is not None and logger.parent is not None:
        if any(not isinstance(handler, logging.NullHandler) for handler in logger.handlers):
            return True
        logger = logger.parent
    return False
