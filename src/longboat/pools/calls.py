"""Calls on their way into the child processes of an executor of its own, and back: what is imported on both sides.

A function travels by its module and name, its arguments as those of a task: checked against its annotations, plain data
otherwise.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from multiprocessing import spawn
from typing import Any, NamedTuple

import msgspec

from longboat.core import codec
from longboat.core.retry import RetryPolicy
from longboat.errors import ConfigError, Stopped
from longboat.pools.raised import Raised, again, told
from longboat.tasks.task import Settings, Task
from longboat.tasks.template import Template

Call = tuple[Sequence[Any], Mapping[str, Any]]


class Calls(msgspec.Struct, array_like=True):
    """Calls of one function, which run one after the other; the first that raises ends them."""

    module: str
    qualname: str
    payloads: list[bytes]
    main: str
    """The program's file, where it is the main module: a child that is started while the program ends is not told of it."""


class Answer(msgspec.Struct, array_like=True):
    """What the calls returned, or what one of them raised."""

    values: list[bytes] = []
    raised: Raised | None = None


_calls = msgspec.msgpack.Decoder(Calls)
_answer = msgspec.msgpack.Decoder(Answer)
_encode = msgspec.msgpack.Encoder().encode


# --- the caller


def packed(fn: Callable[..., Any], calls: Sequence[Call]) -> tuple[bytes, Any]:
    """The calls as bytes, and what each result is to be converted to.

    Raises ConfigError for a function that other processes do not find by its name, BadArguments for what is no plain data.
    """
    target: Any = fn.fn if isinstance(fn, Task) else fn
    module, qualname = getattr(target, "__module__", None), getattr(target, "__qualname__", "")
    if not module or not found_by_name(target, module, qualname):
        raise ConfigError(
            f"{fn!r} cannot be sent to another process by its name: define it at the top of a module, or say "
            "Executor(pickle=True), which is for an executor without an app"
        )
    task = task_of(target)
    payloads = [task.arguments.encode(args, kwargs) for args, kwargs in calls]
    return _encode(Calls(module, qualname, payloads, main())), task.kind


def opened(answer: bytes, kind: Any) -> list[Any]:
    """The values of the calls. Raises what one of them raised."""
    read = _answer.decode(answer)
    if read.raised is not None:
        raise again(read.raised)
    decode = codec.decoder(kind).decode
    return [decode(value) for value in read.values]


def found_by_name(fn: Any, module: str, qualname: str) -> bool:
    """Whether another process that imports the module finds this there."""
    home = sys.modules.get(module)
    if home is None or (module == "__main__" and not getattr(home, "__file__", None) and not home.__spec__):
        return False  # the main module of a session or of `python -c` cannot be imported
    found: Any = home
    for part in qualname.split("."):
        found = getattr(found, part, None)
    return bool(found is fn or (isinstance(found, Task) and found.fn is fn))


def main() -> str:
    """This program's file, if it was started by that."""
    main = sys.modules["__main__"]
    return "" if main.__spec__ else getattr(main, "__file__", "") or ""


@functools.lru_cache(256)
def _typed(fn: Callable[..., Any]) -> Task[..., Any]:
    return Task(
        fn, f"{fn.__module__}.{fn.__qualname__}", Settings("process", RetryPolicy(0, 0.0), (), None), Template(), None
    )


def task_of(fn: Callable[..., Any]) -> Task[..., Any]:
    """How its arguments and results travel: those of a builtin and of a class as plain data."""
    if not inspect.isfunction(fn):
        return _typed(_anything)
    return _typed(fn)


def _anything(*args: Any, **kwargs: Any) -> Any:
    raise NotImplementedError


# --- the child process


def run(calls: bytes) -> bytes:
    """Run the calls; what they return, or what the first of them that fails raises."""
    read = _calls.decode(calls)
    try:
        import_main(read.main)
        found: Any = functools.reduce(getattr, read.qualname.split("."), importlib.import_module(read.module))
        fn = found.fn if isinstance(found, Task) else found
        task = task_of(fn)
        values = []
        for payload in read.payloads:
            args, kwargs = task.arguments.decode(payload)
            values.append(_encoded(task, value_of(fn, args, kwargs)))
        return _encode(Answer(values))
    except Stopped:
        raise
    except BaseException as error:  # as in the standard library's: SystemExit is raised by the future, and ends no process
        return _encode(Answer(raised=told(error)))


def import_main(path: str) -> None:
    """The program's file as the main module, unless it is that already."""
    if path:
        spawn.import_main_path(os.path.normpath(path))


def value_of(fn: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    value = fn(*args, **kwargs)
    if inspect.iscoroutine(value):
        import asyncio

        return asyncio.run(value)
    return value


def _encoded(task: Task[..., Any], value: Any) -> bytes:
    try:
        return task.result.encode(value)
    except codec.ENCODE_ERRORS as error:
        raise TypeError(f"{task.name} returned what does not travel as plain data: {error}") from None


class Way(NamedTuple):
    """How calls travel."""

    packed: Callable[[Callable[..., Any], Sequence[Call]], tuple[bytes, Any]]
    opened: Callable[[bytes, Any], list[Any]]
    run: Callable[[bytes], bytes]


PLAIN = Way(packed, opened, run)
