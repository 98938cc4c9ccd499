"""What was enqueued, what a test expects of it, and how the two differ."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from longboat.app import Longboat
from longboat.core import codec
from longboat.core.clock import Duration, seconds
from longboat.core.job import Job
from longboat.errors import BadArguments, ConfigError, LongboatError
from longboat.tasks.define import name_of
from longboat.tasks.signature import Call, Signature
from longboat.tasks.task import Task
from longboat.testing.broker import Put

Which = Task[..., Any] | Signature[Any] | Callable[..., Any] | str
"""A task, one call of it as `task.s(…)`, a function that is enqueued by `app.enqueue`, or a task's name."""

NEAR = 0.001
"""The part by which delays may differ, and 50 ms: that of `run_at` depends on when it was made."""


class Expected:
    """A call of a task, and the options of its job. Parameters and options that are not given may be anything."""

    def __init__(
        self,
        app: Longboat,
        which: Which,
        call: tuple[Sequence[Any], Mapping[str, Any]],
        queue: str | None,
        delay: Duration | None,
    ) -> None:
        self.task = task_of(app, which)
        args, kwargs = call
        whole = isinstance(which, Call)
        if isinstance(which, Call):
            if args or kwargs:
                raise ConfigError("task.s(…) names the whole call: no arguments go beside it")
            args, kwargs = which.args, which.kwargs
        self.arguments = _bound(self.task, args, kwargs, whole=whole)
        self.options: dict[str, Any] = {} if queue is None else {"queue": queue}
        if delay is not None:
            self.options["delay"] = seconds(delay, "delay")

    def differences(self, job: Job) -> list[str] | None:
        """What is not as expected; None for a job of another task."""
        if job.task != self.task.name:
            return None
        return list(self._differ(job, arguments_of(self.task, job)))

    def _differ(self, job: Job, actual: Mapping[str, Any]) -> Iterator[str]:
        for name, value in self.arguments.items():
            if name not in actual:
                yield f"{name} is missing"
            elif not _equal(value, actual[name]):
                yield f"{name} is {actual[name]!r}, not {value!r}"
        for name, value in self.options.items():
            found = getattr(job, name)
            if not (math.isclose(found, value, rel_tol=NEAR, abs_tol=0.05) if name == "delay" else found == value):
                yield f"{name} is {found!r}, not {value!r}"

    def __str__(self) -> str:
        arguments = ", ".join(f"{name}={value!r}" for name, value in self.arguments.items())
        options = "".join(f", {name} {value!r}" for name, value in self.options.items())
        return f"{self.task.name}({arguments or '…'}){options}"


def report(app: Longboat, expected: Expected, puts: Sequence[Put], said: str) -> str:
    """The message of an assertion that failed: what was expected, all that was enqueued, and what comes nearest."""
    if not puts:
        return f"{expected} {said}: nothing was enqueued"
    lines = [f"{expected} {said}. In order, these were:"]
    lines += [f"  {number}. {described(app, job)}" for number, job in puts]
    differing = [(found, put) for put in puts if (found := expected.differences(put.job))]
    if differing:
        found, nearest = min(differing, key=lambda each: len(each[0]))
        lines.append(f"Nearest is {nearest.number}: {'; '.join(found)}")
    return "\n".join(lines)


def described(app: Longboat, job: Job) -> str:
    """A job as one line."""
    task = app.registry.get(job.task) or app.named(job.task)
    arguments = ", ".join(f"{name}={value!r}" for name, value in arguments_of(task, job).items())
    delay = f", delay {job.delay:g} s" if job.delay else ""
    return f"{job.task}({arguments}), queue {job.queue!r}{delay}"


def arguments_of(task: Task[..., Any], job: Job) -> dict[str, Any]:
    """By parameter, defaults included; of a task whose code is not here, as they were given."""
    later = job.constraints.into if job.constraints else ()
    try:
        known = task.arguments.known(job.payload, later)
    except LongboatError as error:
        return {"?": str(error)}
    in_order = [name for name in task.arguments.parameters if name in known]
    return {name: known[name] for name in (*in_order, *known)}


def task_of(app: Longboat, which: Which) -> Task[..., Any]:
    """Raises ConfigError for what is no task."""
    which = getattr(which, "longboat_task", which)  # what stands in a task's place, such as one of django.tasks
    if isinstance(which, Call) and isinstance(which.task, Task):
        return which.task
    if isinstance(which, Task):
        return which
    if isinstance(which, str):
        return app.registry.get(which) or app.named(which)
    if isinstance(which, Signature):
        raise ConfigError(f"{which!r} is several calls: name one, such as task.s(…)")
    return app.registry.get(name_of(which)) or app.named(name_of(which))


def _bound(task: Task[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], *, whole: bool) -> dict[str, Any]:
    """The arguments by parameter. Raises BadArguments for a call that the task could never have got."""
    signature = inspect.Signature(list(task.arguments.parameters.values()))
    try:
        found = (signature.bind if whole else signature.bind_partial)(*args, **kwargs)
    except TypeError as error:
        raise BadArguments(f"task {task.name!r}: {error}; its parameters are {signature}") from None
    if whole:
        found.apply_defaults()
    arguments = dict(found.arguments)
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            arguments.update(arguments.pop(parameter.name, {}))
    return arguments


def _equal(expected: Any, actual: Any) -> bool:
    """Equal here, or once both have travelled."""
    if expected == actual:
        return True
    try:
        return bool(codec.decode(codec.encode(codec.plain(expected))) == codec.decode(codec.encode(codec.plain(actual))))
    except codec.ENCODE_ERRORS:
        return False
