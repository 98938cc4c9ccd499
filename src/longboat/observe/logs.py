"""Events -> log lines: the only file that words what a worker logs, and how its lines look."""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

from longboat.observe import events
from longboat.observe.events import Event

LogFormat = Literal["text", "json"]

log = logging.getLogger("longboat.worker")


def set_up(level: str, form: LogFormat) -> None:
    """Let this process log to standard error from this level on ("info"), as text or as a JSON object a line."""
    handler = logging.StreamHandler(sys.stderr)
    text = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    handler.setFormatter(JsonFormatter() if form == "json" else text)
    logging.basicConfig(level=level.upper(), handlers=[handler])


class JsonFormatter(logging.Formatter):
    """{"at": …, "level": …, "logger": …, "text": …}; of a worker's own lines also the fields of the event."""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        said: dict[str, Any] = {"at": at, "level": record.levelname, "logger": record.name, "text": record.getMessage()}
        if record.exc_info:
            said["traceback"] = self.formatException(record.exc_info)
        event = getattr(record, "event", None)
        if isinstance(event, Event):
            said["event"] = events.plain(event)
        try:
            return msgspec.json.encode(said, enc_hook=repr).decode()
        except UnicodeEncodeError:  # a lone surrogate, which JSON cannot carry
            said = {"at": at, "level": record.levelname, "logger": record.name, "text": ascii(record.getMessage())}
            return msgspec.json.encode(said).decode()


def listener(event: Event) -> None:
    """Log one event, on the logger "longboat.worker"."""
    level, text = worded(event)
    if log.isEnabledFor(level):
        log.log(level, "%s", text, extra={"event": event})


def worded(event: Event) -> tuple[int, str]:
    """The level and the line for an event."""
    match event:
        case events.JobSucceeded():
            return logging.DEBUG, f"{event.task} [{event.id}] succeeded in {event.seconds:.3f} s"
        case events.JobEnqueued():
            return logging.DEBUG, f"{event.task} [{event.id}] was put into queue {event.queue}"
        case events.JobStarted():
            return logging.DEBUG, f"{event.task} [{event.id}] attempt {event.attempt} started"
        case events.JobProgressed():
            of = "" if event.total is None else f" of {event.total:g}"
            return logging.DEBUG, f"{event.task} [{event.id}] is at {event.done:g}{of}  {event.text}".rstrip()
        case events.JobRetried() | events.JobDied():
            return _failed(event)
        case events.JobCancelled():
            return logging.INFO, f"{event.task} [{event.id}] was cancelled: {event.reason}"
        case events.JobParked():
            return logging.WARNING, (
                f"{event.task} [{event.id}] is not a task of this worker; it waits for a worker that knows it"
            )
        case events.JobsLost():
            return logging.ERROR, f"the leases of {event.jobs} jobs were lost; others will run them again"
        case events.WorkerStarted():
            queues = ", ".join(event.queues) or "every queue"
            return logging.INFO, f"worker {event.worker} takes {queues} of {event.broker}, {event.tasks} tasks known"
        case events.WorkerStopping():
            return logging.INFO, f"stopping; {event.running} running jobs have {event.grace:g} s to finish"
        case events.WorkerStopped():
            return logging.INFO, f"worker {event.worker} stopped after {event.jobs:,} jobs"
        case events.BrokerDown():
            return logging.ERROR, f"the broker fails: {event.error} -- trying again until it answers"
        case events.BrokerUp():
            return logging.INFO, f"the broker answers again after {event.seconds:.1f} s"
        case events.EventsDropped():
            return logging.INFO, f"{event.count:,} events more are left out"
    return logging.INFO, repr(event)


def _failed(event: events.JobRetried | events.JobDied) -> tuple[int, str]:
    failure = event.failure
    head = f"{event.task} [{event.id}] attempt {event.attempt} failed: {failure.type}: {failure.message}"
    if isinstance(event, events.JobRetried):
        return logging.WARNING, f"{head}; next attempt in {event.delay:.1f} s"
    trace = f"\n{failure.traceback.rstrip()}" if failure.traceback else ""
    return logging.ERROR, f"{head}; the job is dead{trace}"
