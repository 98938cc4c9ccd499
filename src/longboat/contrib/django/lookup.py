"""Looks a TaskResult up by its id: what the broker knows of the job, or that it waits for a commit of this process."""

from __future__ import annotations

from typing import Any

from longboat.contrib.django import app
from longboat.contrib.django.compat import TaskResultDoesNotExist
from longboat.contrib.django.results import STARTED, task_result
from longboat.core.codec import decoded
from longboat.core.job import State
from longboat.core.views import JobView
from longboat.errors import JobNotFound, Unsupported
from longboat.tasks.current import STEPS


def look(alias: str, job_id: str) -> Any:
    """Raises TaskResultDoesNotExist, BrokerUnavailable, or Unsupported where the broker cannot look jobs up."""
    try:
        view = app.job(str(job_id)).view()
    except JobNotFound:
        raise TaskResultDoesNotExist(job_id) from None
    return task_result(view, alias, _began(view))


def _began(view: JobView) -> dict[int, float]:
    """When its attempts began, as far as that was kept: the first, and the last one that has failed."""
    last = view.attempts - (view.state in (State.SUCCEEDED, State.DEAD))
    numbers = sorted({1, last}) if last > 0 else []
    if not numbers:
        return {}
    try:
        kept = app.broker.kv.read(f"{STEPS}{view.id}", [STARTED.format(number) for number in numbers])
    except Unsupported:
        return {}
    starts = {number: decoded(value, float) for number, value in zip(numbers, kept, strict=True)}
    return {number: at for number, at in starts.items() if at is not None}
