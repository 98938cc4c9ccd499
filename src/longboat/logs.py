"""Events -> log lines: the only file that words what a worker logs."""

from __future__ import annotations

import logging

from longboat import events
from longboat.events import Event

log = logging.getLogger("longboat.worker")


def listener(event: Event) -> None:
    """Log one event, on the logger "longboat.worker"."""
    level, text = worded(event)
    if log.isEnabledFor(level):
        log.log(level, "%s", text)


def worded(event: Event) -> tuple[int, str]:
    """The level and the line for an event."""
    match event:
        case events.JobSucceeded():
            return logging.DEBUG, f"{event.task} [{event.id}] succeeded in {event.seconds:.3f} s"
        case events.JobFailed():
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
    return logging.INFO, repr(event)


def _failed(event: events.JobFailed) -> tuple[int, str]:
    failure = event.failure
    head = f"{event.task} [{event.id}] attempt {event.attempt} failed: {failure.type}: {failure.message}"
    then = "the job is dead" if event.delay is None else f"next attempt in {event.delay:.1f} s"
    level = logging.ERROR if event.delay is None else logging.WARNING
    trace = f"\n{failure.traceback.rstrip()}" if failure.traceback and event.delay is None else ""
    return level, f"{head}; {then}{trace}"
