"""The chores."""

from __future__ import annotations

import asyncio
import importlib
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any, Protocol, overload

from longboat import Unique, current
from longboat.contrib.django import options
from longboat.contrib.django.compat import PACKAGE

Decorate = Callable[[Callable[..., Any]], Any]


class Decorator(Protocol):
    """`task` as type checkers would see it, had Django types."""

    @overload
    def __call__(self, fn: Callable[..., Any], /) -> Any: ...
    @overload
    def __call__(self, **options: Any) -> Decorate: ...


task: Decorator = importlib.import_module(PACKAGE).task  # as a project writes `from django.tasks import task`

on_61 = PACKAGE != "django.tasks" or importlib.import_module("django").VERSION >= (6, 1)
given = {"retries": 1, "backoff": 0.01} if on_61 else {}
"""Django 6.0's decorator takes no options of a backend."""


class Broken(Exception):
    pass


@task
def add(a: int, b: int = 1) -> int:
    return a + b


@task
async def aadd(a: int, b: int = 1) -> int:
    await asyncio.sleep(0)
    return a + b


@task
@options(executor="process")
def add_apart(a: int, b: int = 1) -> int:
    return a + b


@task(takes_context=True)
def about(context: Any, *names: str) -> list[Any]:
    result = context.task_result
    assert list(names) == result.args
    return [
        *(context.attempt, result.id, result.status, result.attempts, result.worker_ids, len(result.errors)),
        *(result.args, result.kwargs, result.task.priority, result.task.queue_name, result.task.run_after is not None),
    ]


@task(takes_context=True)
@options(retries=2, backoff=[0.01])
def flaky(context: Any, good: int) -> list[Any]:
    if context.attempt < good:
        raise Broken(f"attempt {context.attempt}")
    return [
        context.attempt,
        context.task_result.worker_ids,
        [each.exception_class_path for each in context.task_result.errors],
    ]


@task(takes_context=True)
@options(retries=2, backoff=[0.01])
async def aflaky(context: Any, good: int) -> list[Any]:
    return flaky.func(context, good)  # type: ignore[no-any-return]  # Django has no types


@task(takes_context=True)
@options(retries=2, backoff=[0.01], executor="process")
def flaky_apart(context: Any, good: int) -> list[Any]:
    return flaky.func(context, good)  # type: ignore[no-any-return]  # Django has no types


@task(**given)
def hopeless() -> None:
    raise Broken("always")


@task
def leave(how: str) -> Any:
    if how == "exit":
        sys.exit(3)
    if how == "interrupt":
        raise KeyboardInterrupt("pressed")
    if how == "object":
        return object()
    if how == "large":
        return "x" * 1_000_001
    return how


@task
async def aleave(how: str) -> Any:
    return leave.func(how)


@task
@options(timeout=0.05)
async def slow() -> None:
    await asyncio.sleep(60)


@task
@options(timeout=0.05)
def slow_thread() -> str:
    while not current().stopping:
        time.sleep(0.005)
    return "in time"


@task
@options(executor="process", backoff=[0.01])
def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@task
@options(unique=Unique())
def once(name: str) -> str:
    return name


@task
@options(keep_result=0)
def forgotten() -> None: ...


async def free() -> None:
    """No task yet."""
