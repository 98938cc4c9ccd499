"""Registry: the tasks of an app by name, and what else its modules declare."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Collection
from typing import Any

from longboat.core.job import DEFAULT_QUEUE
from longboat.core.retry import RetryPolicy
from longboat.errors import ConfigError
from longboat.tasks.depends import Provider
from longboat.tasks.schedule import Schedule
from longboat.tasks.task import Settings, Task
from longboat.tasks.template import Template


class Registry:
    """The tasks that are known here, by name."""

    def __init__(self, make: Callable[[Callable[..., Any]], Task[..., Any]] | None = None) -> None:
        """`make`: the task that a function is which is no task yet."""
        self.tasks: dict[str, Task[..., Any]] = {}
        self.functions: dict[str, Callable[..., Any]] = {}
        """Those that jobs may name although they are no tasks: see `Longboat.enqueue`."""
        self.make = make
        self.made: dict[str, Task[..., Any]] = {}
        """The tasks made of some of these."""
        self.modules: list[str] = []
        """Whatever defines these tasks: imported by workers, and in their child processes before a task is looked for."""
        self.schedules: list[Schedule] = []
        """Those in the code."""
        self.lifespans: list[Provider] = []
        """What a worker opens before its first job and closes after its last one."""

    def add(self, task: Task[..., Any]) -> None:
        """Raises ConfigError if another function has the name. (The same one may come again: modules get reloaded.)"""
        known = self.tasks.get(task.name)
        if known is not None and (known.fn.__module__, known.fn.__qualname__) != (task.fn.__module__, task.fn.__qualname__):
            raise ConfigError(
                f"two tasks are named {task.name!r}: {known.fn.__module__}.{known.fn.__qualname__} and "
                f"{task.fn.__module__}.{task.fn.__qualname__}. Give one of them another name=."
            )
        self.tasks[task.name] = task

    def add_schedule(self, schedule: Schedule) -> None:
        """Raises ConfigError if another one has the name. (The same one may come again.)"""
        known = next((each for each in self.schedules if each.name == schedule.name), None)
        if known is None:
            self.schedules.append(schedule)
        elif known != schedule:
            raise ConfigError(
                f"two schedules are named {schedule.name!r}: {known.rule!r} and {schedule.rule!r}. Give one another name=."
            )

    def merge(self, other: Registry) -> None:
        """Know the other's tasks as well. Raises ConfigError if both use one name for two functions."""
        for task in other.tasks.values():
            self.add(task)
        self.functions.update(other.functions)
        self.modules.extend(other.modules)
        for schedule in other.schedules:
            self.add_schedule(schedule)
        self.lifespans.extend(other.lifespans)

    def get(self, name: str) -> Task[..., Any] | None:
        found = self.tasks.get(name) or self.made.get(name)
        if found is None and name in self.functions and self.make is not None:
            try:
                found = self.made[name] = self.make(self.functions[name])
            except ConfigError as error:  # no task can be made of it, which its jobs say
                found = self.made[name] = _broken(name, str(error))
        return found

    def names(self) -> Collection[str]:
        """Those of all that jobs may name here, whenever it is asked."""
        return ChainMap[str, object](self.tasks, self.functions).keys()  # type: ignore[arg-type]  # it is only read

    def queues(self) -> tuple[str, ...]:
        """Those that the tasks and schedules here name, and the default one."""
        named = [task.template.queue for task in self.tasks.values()] + [each.queue for each in self.schedules]
        return tuple(sorted({*named, DEFAULT_QUEUE}))


def _broken(name: str, why: str) -> Task[..., Any]:
    """In the place of a task that cannot be made: its jobs say why."""

    def refuse(*_: Any, **__: Any) -> Any:
        raise ConfigError(why)

    return Task(refuse, name, Settings("thread", RetryPolicy(0, 0.0), (), None), Template(), None)
