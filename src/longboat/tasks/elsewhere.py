"""The names that other queues have for what is named otherwise here: whoever uses one is told ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, NoReturn, TypeVar

from longboat.errors import ConfigError

T = TypeVar("T")
Init = TypeVar("Init", bound=Callable[..., None])

MODULE = {
    "shared_task": "@app.task of your app = Longboat(…), or app.enqueue(function, …) with a plain function",
    "Celery": "Longboat(…)",
    "Queue": "Longboat(…), and the option queue= of a task",
    "actor": "@app.task of your app = Longboat(…)",
    "task": "@app.task of your app = Longboat(…)",
}
"""Of the package."""

APP = {
    "send_task": "send(…)",
    "conf": "arguments of Longboat(…), and options of @app.task(…)",
    "AsyncResult": "job(…)",
    "fetch_job": "job(…)",
    "autodiscover_tasks": "Longboat(…, include=[…])",
    "config_from_object": "arguments of Longboat(…), and options of @app.task(…)",
    "on_after_configure": "@app.schedule(…) above @app.task",
    "periodic_task": "@app.schedule(…) above @app.task",
    "worker_main": "`longboat worker`",
}
"""Of an app."""

APP_OPTIONS = {
    "broker": "the first argument, such as Longboat('redis://localhost:6379')",
    "broker_url": "the first argument, such as Longboat('redis://localhost:6379')",
    "connection": "the first argument, such as Longboat('redis://localhost:6379')",
    "backend": "no other: the broker keeps results as well",
    "result_backend": "no other: the broker keeps results as well",
}
"""Arguments of an app."""


def instead(kind: type[T], names: Mapping[str, str], what: str = "") -> None:
    """Have objects of this class answer these names with ours. `what`: what such an object is, where that is not clear.

    No `__getattr__`: with one, Python 3.11 reads all other names slower.
    """

    def listed(thing: object) -> list[str]:
        return [name for name in object.__dir__(thing) if name not in names]

    for name, ours in names.items():
        setattr(kind, name, _Instead(name, ours, what))
    setattr(kind, "__dir__", listed)  # noqa: B010  # type checkers refuse an assignment


class _Instead:
    def __init__(self, name: str, ours: str, what: str) -> None:
        self._name, self._ours, self._what = name, ours, what

    def __get__(self, thing: object, kind: object) -> NoReturn:
        found = kind if thing is None else thing
        raise AttributeError(f"{found!r}{self._what} has no {self._name!r}: use {self._ours}")


def refuses(names: Mapping[str, str]) -> Callable[[Init], Init]:
    """Have a constructor say what to use instead of these arguments. It raises ConfigError."""

    def decorate(init: Init) -> Init:
        @wraps(init)
        def checked(self: Any, *args: Any, **given: Any) -> None:
            for name in given.keys() & names.keys():
                raise ConfigError(f"{type(self).__name__} takes no {name!r}: use {names[name]}")
            init(self, *args, **given)

        return checked  # type: ignore[return-value]  # it takes what `init` does

    return decorate
