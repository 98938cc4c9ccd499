"""The tasks of this process: for each function, Django's task, and the Longboat task that its jobs are of."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from django.core.exceptions import ImproperlyConfigured

from longboat.contrib.django import app, attempt
from longboat.contrib.django.compat import InvalidTask
from longboat.contrib.django.options import check_names
from longboat.contrib.django.sent import Encoded, SentArguments
from longboat.contrib.django.task import options_of
from longboat.errors import ConfigError
from longboat.tasks.kinds import signature_of
from longboat.tasks.task import Task


class Declared(msgspec.Struct, frozen=True, eq=False):
    task: Any
    """Django's task, as it stands in its module."""
    longboat_task: Task[..., Any]
    sender: type
    """The class of its backend, which sends its signals."""
    usual: Mapping[str, Any]
    """The options that its backend gave it."""


_declared: dict[str, Declared] = {}
"""By the function's module path, which names the Longboat task."""


def declare(task: Any, sender: type, usual: Mapping[str, Any]) -> Declared:
    """The Longboat task that a task of Django is: registered with the app when the decorator runs, or at the first use.

    `sender`: the backend's class. Raises InvalidTask for options that make no sense, and
    ImproperlyConfigured for those of OPTIONS that there are not.
    """
    name = task.module_path
    found = _declared.get(name)
    if found is None or name not in app.registry.tasks or _is_other(found, task, usual):
        try:
            check_names(usual)
        except ConfigError as error:
            raise ImproperlyConfigured(f"TASKS[{task.backend!r}]: OPTIONS: {error}") from error
        try:
            found = _declared[name] = Declared(task, _make(task, sender, usual), sender, dict(usual))
        except ConfigError as error:
            raise InvalidTask(f"{name}: {error}") from error
    return found


def _is_other(found: Declared, task: Any, usual: Mapping[str, Any]) -> bool:
    """Whether the module was loaded again, or the settings were changed, as tests do. A task that is used with another
    backend than its own keeps the options of its own."""
    return found.task.func is not task.func or (found.task.backend == task.backend and found.usual != usual)


def declared(name: str) -> Declared | None:
    """That of a Longboat task's name; None if no task of Django has it."""
    return _declared.get(name)


def _make(task: Any, sender: type, usual: Mapping[str, Any]) -> Task[..., Any]:
    options = options_of(task, usual)
    is_async = inspect.iscoroutinefunction(task.func)
    if is_async and options.get("executor") == usual.get("executor"):
        options.pop("executor", None)  # the usual one is that of plain functions
    body: Any = attempt.body(task, sender, is_async=is_async)
    body.__module__, body.__qualname__, body.__name__ = task.func.__module__, task.func.__qualname__, task.func.__name__
    body.__doc__ = task.func.__doc__
    body.__signature__ = _signature(task.func, takes_context=task.takes_context)
    made: Task[..., Any] = app.task(name=task.module_path, queue=task.queue_name, priority=task.priority, **options)(body)
    made.arguments = SentArguments(made.name, body)
    made.result = Encoded()
    return made


def _signature(func: Callable[..., Any], *, takes_context: bool) -> inspect.Signature:
    """The function's parameters: their values are what JSON can hold, whatever the annotations say."""
    given = signature_of(func)
    parameters = [each.replace(annotation=each.empty) for each in given.parameters.values()]
    return given.replace(parameters=parameters[1 if takes_context else 0 :], return_annotation=given.empty)
