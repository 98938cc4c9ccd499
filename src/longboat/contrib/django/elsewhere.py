"""Tells Django of jobs that end elsewhere than in their function: out of time, their process dead, cancelled."""

from __future__ import annotations

import contextlib
import threading

from django.db import close_old_connections

from longboat.contrib.django import app, signals
from longboat.contrib.django.compat import TaskResultDoesNotExist, TaskResultStatus, task_finished
from longboat.contrib.django.declared import declared
from longboat.contrib.django.results import error_of, is_ours, task_result
from longboat.contrib.django.sent import beside, shown
from longboat.core import reasons
from longboat.core.job import Failure
from longboat.errors import BrokerError, JobFailed, JobNotFound
from longboat.observe.events import Event, JobCancelled, JobDied

_lock = threading.Lock()
_listens = False


def listen() -> None:
    """Hear of the jobs that end in workers of this process, once."""
    global _listens
    with _lock:
        if not _listens:
            _listens = True
            app.bus.listen(_tell)


def _tell(event: Event) -> None:
    if isinstance(event, JobCancelled):
        failure = Failure(reasons.CANCELLED, event.reason, at=event.at, worker=event.worker)
    elif isinstance(event, JobDied) and is_ours(event.failure):
        failure = event.failure
    else:
        return  # what the function raised, it has told itself
    found = declared(event.task)
    if found is None:
        return
    close_old_connections()
    try:
        with contextlib.suppress(BrokerError, JobNotFound, TaskResultDoesNotExist):
            view = app.job(event.id).view()
            result = task_result(view, beside(view.headers).backend or found.task.backend, {})
            if not result.is_finished:  # it is settled in a moment
                result.errors.append(error_of(failure))
                object.__setattr__(result, "finished_at", shown(failure.at))
                object.__setattr__(result, "status", TaskResultStatus.FAILED)
            try:  # what logs and monitors exceptions finds one
                raise JobFailed(
                    event.id,
                    event.task,
                    failure.type,
                    failure.message,
                    failure.traceback,
                    max(view.attempts, failure.attempt),
                )
            except JobFailed:
                signals.send(task_finished, found.sender, result)
    finally:
        close_old_connections()
