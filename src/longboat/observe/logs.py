"""Events as log lines: the wording of what a worker logs, and the format of its lines."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

from longboat.core.logged import JOB, TASK, extra, has_handlers, log_what_python_tells, plain
from longboat.core.text import counted, escaped, escaped_json, escaped_lines
from longboat.observe import events
from longboat.observe.events import Event

LogFormat = Literal["text", "json"]

log = logging.getLogger("longboat.worker")

NAMED = 5
"""Tasks that one line names."""


def set_up(level: str, form: LogFormat) -> None:
    """Log to standard error from this level on ("info"), as text or as one JSON object per line.

    Call it after the program was imported: one that has set up logging keeps what it has, and Longboat's lines go there.
    """
    root, ours = logging.getLogger(), logging.getLogger("longboat")
    if not root.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
        handler.addFilter(lambda record: not has_handlers(record))
        root.addHandler(handler)
        if root.level == logging.WARNING:  # as it is from the start
            root.setLevel(level.upper())
    if ours.level == logging.NOTSET:
        ours.setLevel(level.upper())
    log_what_python_tells()
    for name in list(logging.root.manager.loggerDict):
        if name.partition(".")[0] == "longboat":
            logging.getLogger(name).disabled = False  # dictConfig disables all loggers that it does not name


class TextFormatter(logging.Formatter):
    """What a job logs has its task and id, as the worker's own lines about it have."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        return escaped_lines(super().format(record))

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802, ARG002  # logging's own
        """In the local time zone, with its offset: 2026-11-28 23:04:05.678+01:00."""
        return datetime.fromtimestamp(record.created).astimezone().isoformat(" ", "milliseconds")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # logging's own name
        if job := getattr(record, JOB, ""):
            record.message = f"{getattr(record, TASK, '')} [{job}] {record.message}"
        return super().formatMessage(record)


class JsonFormatter(logging.Formatter):
    """{"at": …, "level": …, "logger": …, "text": …}; a worker's own lines also have the fields of the event, and what a job
    logs the id of its "job", its "task", and what was given as "extra"."""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        said: dict[str, Any] = {"at": at, "level": record.levelname, "logger": record.name, "text": record.getMessage()}
        if record.exc_info or record.exc_text:
            said["traceback"] = record.exc_text or self.formatException(record.exc_info)  # type: ignore[arg-type]  # one is there
        more = extra(record)
        said |= {name: more.pop(key) for name, key in (("job", JOB), ("task", TASK)) if key in more}
        if isinstance(more.get("event"), Event):
            said["event"] = events.plain(more.pop("event"))
        if more:
            said["extra"] = {name: plain(value) for name, value in more.items()}
        try:
            return escaped_json(msgspec.json.encode(said, enc_hook=repr).decode())
        except UnicodeEncodeError:  # a lone surrogate, which JSON cannot carry
            said = {"at": at, "level": record.levelname, "logger": record.name, "text": ascii(record.getMessage())}
            return msgspec.json.encode(said).decode()


def listener(event: Event) -> None:
    """Log one event, on the logger "longboat.worker"."""
    level, _ = _WORDS.get(type(event), _OTHER)
    if log.isEnabledFor(level):
        log.log(level, "%s", worded(event)[1], extra={"event": event})


def success(event: Event) -> None:
    """Log a success, or how many there were, although each success is logged at a lower level."""
    if isinstance(event, events.JobsSucceeded):
        most = list(event.tasks.items())[:NAMED]
        more = len(event.tasks) - len(most)
        of = ", ".join(f"{count:,} of {task}" for task, count in most)
        of += f" and {counted(more, 'more task')}" if more else ""
        text = f"{counted(event.jobs, 'job')} succeeded: {of}"
    else:
        text = worded(event)[1]
    log.info("%s", text, extra={"event": event})


def worded(event: Event) -> tuple[int, str]:
    """The level and the line for an event; a traceback is more lines, which are indented."""
    level, words = _WORDS.get(type(event), _OTHER)
    text = escaped(words(event))
    if isinstance(event, events.JobDied) and event.failure.traceback:
        text += escaped_lines(f"\n{event.failure.traceback.rstrip()}")
    return level, text


def _failed(event: events.JobRetried | events.JobDied) -> str:
    failure = event.failure
    head = f"{event.task} [{event.id}] attempt {event.attempt} failed: {failure.type}: {failure.message}"
    if isinstance(event, events.JobRetried):
        return f"{head}; next attempt in {event.delay:.1f} s"
    return f"{head}; the job is dead"


def _progressed(event: events.JobProgressed) -> str:
    of = "" if event.total is None else f" of {event.total:g}"
    return f"{event.task} [{event.id}] is at {event.done:g}{of}  {event.text}".rstrip()


def _parked(event: events.JobsParked) -> str:
    if event.reason:
        return (
            f"{counted(event.jobs, 'job')} of {event.task} do not fit the task as {event.worker} "
            f"has it, and wait for one whose version they fit: {event.reason}"
        )
    if event.elsewhere:
        return (
            f"{counted(event.jobs, 'job')} of {event.task} cannot run on worker {event.worker} "
            "and go to others, one of which has told that it knows the task"
        )
    module = event.task.rpartition(".")[0] or "MODULE"
    left = len(event.known) - NAMED
    knows = (", ".join(event.known[:NAMED]) or "no task") + (f" and {left} more" if left > 0 else "")
    return (
        f"{counted(event.jobs, 'job')} of {event.task} cannot run here and wait for a worker that "
        f"knows the task; worker {event.worker} knows {knows}. Start workers with the module that defines it: "
        f'`longboat worker … --include {module}`, or Longboat(include=["{module}"])'
    )


_OTHER: tuple[int, Callable[[Any], str]] = (logging.INFO, repr)

_WORDS: dict[type[Event], tuple[int, Callable[[Any], str]]] = {
    events.JobEnqueued: (logging.DEBUG, lambda of: f"{of.task} [{of.id}] enqueued in queue {of.queue}"),
    events.JobStarted: (logging.DEBUG, lambda of: f"{of.task} [{of.id}] attempt {of.attempt} started"),
    events.JobProgressed: (logging.DEBUG, _progressed),
    events.JobSucceeded: (logging.DEBUG, lambda of: f"{of.task} [{of.id}] succeeded in {of.seconds:.3f} s"),
    events.JobRetried: (logging.WARNING, _failed),
    events.JobDied: (logging.ERROR, _failed),
    events.JobCancelled: (logging.INFO, lambda of: f"{of.task} [{of.id}] was cancelled: {of.reason}"),
    events.JobParked: (
        logging.DEBUG,
        lambda of: f"{of.task} [{of.id}] is not a task of this worker; it waits for a worker that knows it",
    ),
    events.JobsParked: (logging.WARNING, _parked),
    events.JobsLost: (
        logging.ERROR,
        lambda of: (
            f"the leases of {counted(of.jobs, 'job')} were lost; other workers will run them again"
            if of.jobs
            else "the leases were lost while no job ran; others are taken"
        ),
    ),
    events.WorkerStarted: (
        logging.INFO,
        lambda of: (
            f"worker {of.worker} serves {', '.join(of.queues) or 'every queue'} of {of.broker}, tasks known: {of.tasks}"
        ),
    ),
    events.WorkerStopping: (
        logging.INFO,
        lambda of: (
            f"stopping; running jobs have {of.grace:g} s to finish: {of.running}"
            if of.grace < 86400.0
            else f"stopping; running jobs have as long as they take: {of.running}"
        ),
    ),
    events.WorkerStopped: (logging.INFO, lambda of: f"worker {of.worker} stopped after {counted(of.jobs, 'job')}"),
    events.BrokerDown: (logging.ERROR, lambda of: f"the broker fails: {of.error} -- trying again until it answers"),
    events.BrokerUp: (logging.INFO, lambda of: f"the broker answers again after {of.seconds:.1f} s"),
    events.EventsDropped: (logging.INFO, lambda of: f"{counted(of.count, 'more event')} left out"),
}
