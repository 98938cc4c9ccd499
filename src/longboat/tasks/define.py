"""What `app.task` may be given: a function and its options, checked, are a Task."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import ModuleType
from typing import Any, TypeVar, Unpack, cast, get_args

from longboat.core.clock import Duration
from longboat.core.retry import Backoff, policy
from longboat.errors import ConfigError
from longboat.tasks.keys import check_template
from longboat.tasks.kinds import signature_of
from longboat.tasks.limits import Limit, check_limit, check_unique
from longboat.tasks.outgoing import Sender
from longboat.tasks.task import AsyncTask, ExecutorName, Settings, SyncTask, Task
from longboat.tasks.template import JobOptions, Template, checked_name, time_limit, unknown_option

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS = "longboat_options"


class TaskOptions(JobOptions, total=False):
    """What `app.task` may be given."""

    name: str | None
    """What jobs and workers call the task: the same in every process. Default: "module.function"."""
    executor: ExecutorName | None
    """Where it runs: "async" for coroutine functions (the only choice), else "thread" (the default) or "process"."""
    retries: int
    """Attempts after the first, for exceptions of `retry_on` and time-outs. Default: 0."""
    backoff: Backoff
    """The first pause before another attempt, doubled for each further one up to an hour; each pause is between half of that
    and all of it, by chance. Or a list of exact pauses, whose last one is repeated. Default: 1 s."""
    retry_on: type[BaseException] | Iterable[type[BaseException]]
    """The exceptions after which it is tried again; of an ExceptionGroup, each one must match. Default: Exception."""
    timeout: Duration | None
    """How long one attempt may take. Default: None, no limit."""
    limit: Limit | Sequence[Limit]
    """How many jobs run, or start in a time, for each value of a key. Default: none."""
    fair_by: str
    """Ready jobs of a queue take turns by this key, made from the arguments, such as "{tenant}". Default: none."""


def define(fn: Callable[..., Any], options: TaskOptions, sender: Callable[[], Sender]) -> Task[..., Any]:
    """The task that a function is with these options. Raises ConfigError, naming the option."""
    known = TaskOptions.__annotations__.keys()
    if unknown := options.keys() - known:
        raise unknown_option(min(unknown), known)
    fn = fn.fn if isinstance(fn, Task) else fn
    if inspect.isclass(fn) or not callable(fn) or not hasattr(fn, "__qualname__"):
        raise ConfigError(f"{fn!r} is no function with a name, which workers need to find it: write `def` around it")
    name = checked_name(options.get("name") or name_of(fn), "task name")
    settings = _settings(fn, options)
    kind = AsyncTask if settings.executor == "async" else SyncTask
    return kind(fn, name, settings, _template(name, fn, options), sender)


def with_options(**options: Unpack[TaskOptions]) -> Callable[[F], F]:
    """Give a function that is no task the options of its jobs, for every app that includes its module."""

    def mark(fn: F) -> F:
        vars(fn)[_OPTIONS] = options
        return fn

    return mark


def own_options(fn: Any) -> TaskOptions:
    """Those that `with_options` gave it."""
    return getattr(fn, _OPTIONS, None) or TaskOptions()


def name_of(fn: Callable[..., Any]) -> str:
    """The name of a function's task, unless it is given one."""
    return f"{_module(fn)}.{fn.__qualname__}"


def is_hidden(fn: Callable[..., Any]) -> bool:
    """Whether it is a lambda, or defined inside a function: a process that imports its module need not have it."""
    return "<" in getattr(fn, "__qualname__", "")  # what has none is refused by `define`


def check_found(fn: Callable[..., Any]) -> None:
    """Raises ConfigError for a function that no other process finds: it can be a task of this process only."""
    if is_hidden(fn):
        raise ConfigError(
            f"{fn.__qualname__} cannot be a task: other processes that import its module do not find it. Define it "
            "at the top of a module; or, if every process that uses this app defines it too, give it a name="
        )
    if hasattr(sys, "ps1") and _module(fn) == "__main__":
        raise ConfigError(
            f"{fn.__qualname__} cannot be a task: no worker finds what is typed into a notebook or an interactive session. "
            "Write it to a file: begin the cell with `%%writefile tasks.py`, and `from tasks import …` in the next one. Or, "
            "if a worker of this session is to run it (`async with app.worker():`), give it a name="
        )


def functions_of(module: ModuleType) -> Iterator[Callable[..., Any]]:
    """Those defined at the top of it, except for private ones."""
    for name, value in list(vars(module).items()):
        if (
            inspect.isfunction(value)
            and value.__module__ == module.__name__
            and value.__qualname__ == name
            and name[0] != "_"
        ):
            yield value


def check_importable(fn: Any) -> None:
    """Raises ConfigError unless it is a function that every process which imports its module finds."""
    if isinstance(fn, str):
        raise ConfigError(f"{fn!r} is a name: app.send({fn!r}, …) enqueues a task by its name")
    what = getattr(fn, "__qualname__", repr(fn))
    if not inspect.isfunction(fn) or is_hidden(fn):
        raise ConfigError(
            f"{what} cannot be enqueued: it must be a function that is defined by `def` at the top of a module; methods, "
            "lambdas, classes and what is written in C, such as print, are not"
        )
    found: Any = sys.modules.get(fn.__module__)
    for part in fn.__qualname__.split("."):
        found = getattr(found, part, None)
    if found is not fn:
        raise ConfigError(
            f"{what} cannot be enqueued: under its name, other processes would find {found!r} in {fn.__module__}"
        )


def _settings(fn: Callable[..., Any], options: TaskOptions) -> Settings:
    retry_on = options.get("retry_on", Exception)
    kinds = (retry_on,) if isinstance(retry_on, type) else tuple(retry_on)
    if not all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in kinds):
        raise ConfigError(f"retry_on: {kinds!r} must be exception classes")
    timeout = options.get("timeout")
    limit = None if timeout is None else time_limit(timeout)
    executor = _executor(fn, options.get("executor"))
    return Settings(executor, policy(options.get("retries", 0), options.get("backoff", 1.0)), kinds, limit)


def _executor(fn: Callable[..., Any], chosen: ExecutorName | None) -> ExecutorName:
    is_async = inspect.iscoroutinefunction(fn)
    if inspect.isasyncgenfunction(fn) or inspect.isgeneratorfunction(fn):
        raise ConfigError(f"{fn.__qualname__} is a generator: a task returns one result")
    if chosen is None and not is_async and inspect.iscoroutinefunction(inspect.unwrap(fn)):
        raise ConfigError(
            f"{fn.__qualname__} is a coroutine function within a plain one: make the decorator's function `async def` too "
            "(or say executor='thread' if it runs the coroutine itself)"
        )
    chosen = chosen or ("async" if is_async else "thread")
    if chosen not in get_args(ExecutorName):
        raise ConfigError(f"executor: {chosen!r} is not one of {', '.join(get_args(ExecutorName))}")
    if is_async and chosen != "async":
        raise ConfigError(f"{fn.__qualname__} is a coroutine function: it runs with executor='async', not {chosen!r}")
    if not is_async and chosen == "async":
        raise ConfigError(f"{fn.__qualname__} is a plain function: executor='async' needs `async def`")
    if chosen == "process" and "<locals>" in fn.__qualname__:
        raise ConfigError(f"{fn.__qualname__}: a task for child processes must be defined at the top of a module")
    return chosen


def _template(task: str, fn: Callable[..., Any], options: TaskOptions) -> Template:
    parameters = signature_of(fn).parameters
    limit, unique = options.get("limit", ()), options.get("unique")
    limits = tuple(limit) if isinstance(limit, list | tuple) else (cast(Limit, limit),)
    for each in limits:
        check_limit(each, task, parameters)
    if unique is not None:
        check_unique(unique, task, parameters)
    fair_by = check_template(options.get("fair_by", ""), "fair_by", task, parameters)
    jobs: Any = {option: value for option, value in options.items() if option in JobOptions.__annotations__}
    return Template(limits=limits, fair_by=fair_by).using(jobs)


def _module(fn: Callable[..., Any]) -> str:
    """The function's module; a program run as a script has its file's name, so that workers that import it agree."""
    if fn.__module__ != "__main__":
        return fn.__module__
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    if spec is not None:
        return str(spec.name).removesuffix(".__main__")
    file = getattr(main, "__file__", None)
    return os.path.splitext(os.path.basename(file))[0] if file else "__main__"
