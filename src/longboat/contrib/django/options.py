"""options: how the jobs of a task of Django are run, said beside its function."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar, Unpack

from longboat.errors import ConfigError
from longboat.tasks.define import TaskOptions

F = TypeVar("F", bound=Callable[..., Any])

OPTIONS = frozenset(TaskOptions.__annotations__) - {"name", "queue", "priority"}
"""Those of a Longboat task that Django has no word of its own for."""

_GIVEN = "longboat_options"


def options(**said: Unpack[TaskOptions]) -> Callable[[F], F]:
    """Longboat's options for the function below, with any version of Django and beside any backend:

        @task
        @options(retries=3, timeout="30s")
        def send(to: str) -> None: ...

    Other backends ignore them. Raises ConfigError for an option that there is not, or above `@task`.
    """
    check_names(said)

    def mark(fn: F) -> F:
        if getattr(fn, "__qualname__", None) is None:
            raise ConfigError(f"@options stands below @task: it describes a function, and not {fn!r:.200}")
        setattr(fn, _GIVEN, said)
        return fn

    return mark


def check_names(said: Mapping[str, object]) -> None:
    """Raises ConfigError for an option that there is not."""
    if unknown := said.keys() - OPTIONS:
        raise ConfigError(f"unknown option {min(unknown)!r}; there are {', '.join(sorted(OPTIONS))}")


def given(fn: Callable[..., Any]) -> dict[str, Any]:
    """What was said beside a function."""
    found: dict[str, Any] = getattr(fn, _GIVEN, {})
    return found
