"""What is logged while a job runs: kept with the job, marked with it, and passed on by child processes to their worker."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import msgspec

from longboat.core.logged import JOB, TASK, extra, has_handlers, log_what_python_tells, plain
from longboat.tasks.current import carried, running


class Passed(msgspec.Struct, array_like=True):
    """A record on its way from a child process to its worker."""

    name: str
    level: int
    text: str
    created: float
    thread: str
    trace: str
    more: bytes
    """What was added to it, as JSON."""


NOT_KEPT: set[str] = set()
"""Names of loggers whose records are marked with the job but not kept with it, because they say only what its state says."""


def listen_to_logs() -> None:
    """From now on keep what is logged with the jobs that log it, and mark it with them. Calling it again changes nothing.

    It is done where records are made: programs may replace all handlers at any time.
    """
    before = logging.getLogRecordFactory()
    if isinstance(before, _Factory):
        return
    logging.setLogRecordFactory(_Factory(before))


class _Factory:
    def __init__(self, before: Callable[..., logging.LogRecord]) -> None:
        self._before = before

    def __call__(self, *args: Any, **kwargs: Any) -> logging.LogRecord:
        record = self._before(*args, **kwargs)
        job = running.get(None)
        if job is None or not record.name or record.name.partition(".")[0] == "longboat":
            return record
        record.__dict__[JOB], record.__dict__[TASK] = job.id, job.task
        if record.name in NOT_KEPT:
            return record
        try:
            text = record.getMessage()
            if record.exc_info:
                text = f"{text}\n{logging.Formatter().formatException(record.exc_info)}"
        except Exception:  # its handlers tell of a format that does not fit
            text = str(record.msg)
        job.log(text, record.levelname)
        return record


class ToWorker(logging.Handler):
    """In a child process that has no handlers of its own: its worker's get the records."""

    def __init__(self, send: Callable[[Passed], None]) -> None:
        super().__init__()
        self._send = send

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = carried(record.getMessage())
            trace = carried(logging.Formatter().formatException(record.exc_info)) if record.exc_info else ""
            more = msgspec.json.encode({name: plain(value) for name, value in extra(record).items()})
            self._send(Passed(record.name, record.levelno, text, record.created, record.threadName or "", trace, more))
        except Exception:
            self.handleError(record)


def pass_on(level: int, send: Callable[[Passed], None]) -> None:
    """Pass on what is logged from this level on, unless the program has set up logging. Calling it again is harmless."""
    root = logging.getLogger()
    if not root.handlers:
        handler = ToWorker(send)
        handler.addFilter(lambda record: not has_handlers(record))
        root.addHandler(handler)
        root.setLevel(level)
    log_what_python_tells()


def tell(passed: Passed) -> None:
    """Log here what was logged in a child process."""
    record = logging.makeLogRecord(
        {
            **msgspec.json.decode(passed.more),
            "name": passed.name,
            "levelno": passed.level,
            "levelname": logging.getLevelName(passed.level),
            "msg": passed.text,
            "created": passed.created,
            "msecs": passed.created % 1 * 1000,
            "threadName": passed.thread,
            "exc_text": passed.trace or None,
        }
    )
    logging.getLogger(passed.name).handle(record)
