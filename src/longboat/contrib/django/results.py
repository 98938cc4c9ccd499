"""A job as Django sees it: its TaskResult, made of what the broker knows."""

from __future__ import annotations

import contextlib
from typing import Any

from django.utils.module_loading import import_string

from longboat.contrib.django.compat import Task, TaskError, TaskResult, TaskResultDoesNotExist, TaskResultStatus
from longboat.contrib.django.sent import Returned, as_sent, beside, enqueued_at, shown
from longboat.core import codec, reasons
from longboat.core.job import Failure, State
from longboat.core.views import JobView
from longboat.executors.contract import BAD_PAYLOAD, BAD_RESULT, TIMEOUT

STATUS = {
    State.SCHEDULED: TaskResultStatus.READY,
    State.WAITING: TaskResultStatus.READY,
    State.READY: TaskResultStatus.READY,
    State.RUNNING: TaskResultStatus.RUNNING,
    State.SUCCEEDED: TaskResultStatus.SUCCESSFUL,
    State.DEAD: TaskResultStatus.FAILED,
    State.CANCELLED: TaskResultStatus.FAILED,
}

CLASSES = {
    TIMEOUT: "builtins.TimeoutError",
    BAD_PAYLOAD: "longboat.errors.BadArguments",
    BAD_RESULT: "builtins.TypeError",
    reasons.CANCELLED: "longboat.errors.JobCancelled",
    reasons.EXPIRED: "longboat.errors.JobCancelled",
    reasons.UNDECODABLE: "longboat.errors.Undecodable",
    reasons.UNKNOWN_TASK: "longboat.errors.UnknownTask",
}
"""The exception that stands for a failure which no function raised; for others it is JobFailed."""

STARTED = "django: started {}"
"""The step of a job that keeps when an attempt began: of those before the last one, brokers do not know that."""


def is_ours(failure: Failure) -> bool:
    """Whether a failure is Longboat's, and not what a function raised."""
    return failure.type.startswith("longboat.") and not failure.type.startswith("longboat.errors.")


def error_of(failure: Failure) -> Any:
    """A failure as a TaskError."""
    path = failure.type
    if is_ours(failure):
        path = CLASSES.get(path, "longboat.errors.JobFailed")
    elif "." not in path:
        path = f"builtins.{path}"
    text = failure.traceback.rstrip() or f"{path.removeprefix('builtins.')}: {failure.message}"
    return TaskError(exception_class_path=path, traceback=f"{text}\n")


def fresh(task: Any, alias: str, args: Any, kwargs: Any, status: Any, **fields: Any) -> Any:
    """The TaskResult of a job without a past, with these `fields`: its `id`, `enqueued_at`, `started_at`."""
    usual = {"id": "", "enqueued_at": None, "started_at": None, "last_attempted_at": None, "finished_at": None}
    its: dict[str, Any] = {"task": task, "backend": alias, "args": args, "kwargs": kwargs, "status": status}
    return TaskResult(**its, errors=[], worker_ids=[], **{**usual, **fields})


def task_result(view: JobView, alias: str, began: dict[int, float]) -> Any:
    """The TaskResult of a job of the backend `alias`. `began`: when attempts began, as far as that was kept.

    Raises TaskResultDoesNotExist for a job that is none of this backend's.
    """
    said = beside(view.headers)
    task = _task_of(view)
    if task is None or alias != (said.backend or task.backend):
        raise TaskResultDoesNotExist(view.id)
    changes = {"backend": alias, "queue_name": view.queue, "priority": view.priority, "run_after": said.run_after}
    if changed := {name: value for name, value in changes.items() if value != getattr(task, name)}:
        task = task.using(**changed)
    args, kwargs = as_sent(view.payload)
    attempts = view.begun
    if view.started is not None:
        began = {**began, attempts: view.started}
    ended = [each for each in view.failures if each.attempt > 0]
    first = began.get(1, ended[0].at if ended else None)
    result = TaskResult(
        task=task,
        id=view.id,
        status=STATUS[view.state],
        enqueued_at=enqueued_at(view.id, view.enqueued),
        started_at=shown(first) if attempts else None,
        last_attempted_at=shown(began.get(attempts, ended[-1].at if ended else first)) if attempts else None,
        finished_at=shown(view.ended),
        args=args,
        kwargs=kwargs,
        backend=alias,
        errors=[error_of(failure) for failure in view.failures],
        worker_ids=[],
    )
    workers = {failure.attempt: failure.worker for failure in ended}
    if view.worker is not None:
        workers[attempts] = view.worker
    if view.state is State.SUCCEEDED and view.result is not None:
        returned = _returned(view.result)
        workers[attempts] = returned.worker_id
        object.__setattr__(result, "_return_value", returned.return_value)
    result.worker_ids.extend(workers.get(number, "") for number in range(1, attempts + 1))
    return result


def _task_of(view: JobView) -> Any:
    """Django's task that a job is of, as it stands in its module; None if there is none of that name."""
    with contextlib.suppress(ImportError, ValueError):
        found = import_string(view.task)
        return found if isinstance(found, Task) else None
    return None


def _returned(data: bytes) -> Returned:
    with contextlib.suppress(*codec.DECODE_ERRORS):
        found: Returned = codec.decode(data, Returned)
        return found
    return Returned(codec.decode(data))
