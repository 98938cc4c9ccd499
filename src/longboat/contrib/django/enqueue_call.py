"""EnqueueCall: what one `enqueue` of a task of Django asks for: the job that leaves, and the TaskResult that shows it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db.models import Model

from longboat.contrib.django.compat import TaskResultStatus
from longboat.contrib.django.declared import Declared
from longboat.contrib.django.results import fresh
from longboat.contrib.django.sent import Beside, enqueued_at
from longboat.core.clock import SYSTEM
from longboat.tasks.handle import Handle
from longboat.tasks.outgoing import Outgoing


class EnqueueCall:
    def __init__(self, declared: Declared, task: Any, alias: str, args: Any, kwargs: Any) -> None:
        """Raises TypeError for arguments that JSON cannot hold, or that the function does not take."""
        base, longboat_task = declared.task, declared.longboat_task
        if task.queue_name != base.queue_name or task.priority != base.priority:
            longboat_task = longboat_task.using(queue=task.queue_name, priority=int(task.priority))
        self._run_after: datetime | None = task.run_after
        self.result = _ready(task, alias, args, kwargs)
        job, key = longboat_task.new(self.result.args, self.result.kwargs)
        said = Beside(run_after=task.run_after)
        if alias != base.backend:
            said.backend = alias
        if task.priority != base.priority:
            said.priority = int(task.priority)
        job.headers |= said.header()
        self.outgoing = Outgoing([job], longboat_task.kind)
        if key is not None:
            self.outgoing.keys = {job.id: key}
        self._named(job.id)

    def put_off(self) -> None:
        """Have it wait for its `run_after` from now."""
        if self._run_after is not None:
            self.outgoing.first.delay = max(0.0, self._run_after.timestamp() - SYSTEM.now())

    def stored(self, handle: Handle[Any]) -> bool:
        """It is stored. False if another job stands for it, because its task is `unique`: the result is that one's then."""
        self._named(handle.id)
        return handle.new

    def _named(self, job_id: str) -> None:
        object.__setattr__(self.result, "id", job_id)
        object.__setattr__(self.result, "enqueued_at", enqueued_at(job_id))


def _ready(task: Any, alias: str, args: Any, kwargs: Any) -> Any:
    try:
        return fresh(task, alias, args, kwargs, TaskResultStatus.READY)
    except TypeError as error:
        row = next((each for each in (*args, *kwargs.values()) if isinstance(each, Model)), None)
        if row is None:
            raise
        what = type(row).__name__
        raise TypeError(
            f"{error}. Pass the primary key of the {what}, and get it from the database within the task: "
            f"{task.name}.enqueue({what.lower()}.pk)"
        ) from None
