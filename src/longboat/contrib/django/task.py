"""LongboatTask: what `@task` makes of a function for this backend, with options for how its jobs are run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

from django.utils import timezone

from longboat.contrib.django.compat import InvalidTask, Task
from longboat.contrib.django.options import OPTIONS, given
from longboat.core.clock import Duration
from longboat.core.retry import Backoff
from longboat.tasks.limits import Limit, Unique
from longboat.tasks.task import ExecutorName


@dataclass(frozen=True, slots=True, kw_only=True)
class LongboatTask(Task):  # type: ignore[misc]  # Django has no types
    """A task of Django, with Longboat's options, such as `@task(retries=3, timeout="30s")`. None: as OPTIONS says."""

    retries: int | None = None
    backoff: Backoff | None = None
    retry_on: type[BaseException] | Iterable[type[BaseException]] | None = None
    timeout: Duration | None = None
    executor: ExecutorName | None = None
    unique: Unique | None = None
    expires: Duration | None = None
    keep_result: Duration | None = None
    limit: Limit | Sequence[Limit] | None = None
    fair_by: str | None = None

    @property
    def longboat_task(self) -> Any:
        """The Longboat task that it stands for: child processes look for it here."""
        return self.get_backend().longboat_task(self)


def options_of(task: Any, usual: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a task: its own, else those beside its function, else the usual ones."""
    own = {name: getattr(task, name, None) for name in OPTIONS} if isinstance(task, LongboatTask) else {}
    return {**usual, **given(task.func), **{name: value for name, value in own.items() if value is not None}}


def moment(run_after: Any) -> datetime | None:
    """`run_after` as a datetime; a timedelta counts from now. Raises InvalidTask."""
    if isinstance(run_after, timedelta):
        if run_after < timedelta():
            raise InvalidTask(f"run_after: {run_after!r} is in the past; a timedelta counts from the call that enqueues.")
        return cast(datetime, timezone.now() + run_after)
    if run_after is not None and not isinstance(run_after, datetime):
        raise InvalidTask(f"run_after: {run_after!r} must be a datetime or a timedelta.")
    return run_after
