"""Calls on their way into child processes, and back, as plain data: what is imported on both sides.

A function travels by its module and name, its arguments as those of a task: checked against its annotations, plain data
otherwise.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from types import GenericAlias
from typing import Any

import msgspec

from longboat.core import codec
from longboat.core.retry import RetryPolicy
from longboat.errors import ConfigError, Stopped
from longboat.pools.raised import Raised, again, told
from longboat.pools.way import Call, Packed, Setup, SetupFailed, broken, import_main, main, prepare, values_of
from longboat.tasks.task import Settings, Task
from longboat.tasks.template import Template


class Calls(msgspec.Struct, array_like=True):
    """Calls of one function, which run one after the other; the first that raises ends them."""

    module: str
    qualname: str
    payloads: list[bytes]
    """Empty where the calls are in `rows`."""
    main: str
    """The program's file, where it is the main module: a child that is started while the program ends is not told of it."""
    rows: bytes = b""
    """The arguments of all calls together, where that is possible; it takes a tenth of the time."""
    width: int = 0
    """How many each of these has."""
    setup: bytes = b""
    """Calls of the initializer, if there is one; there it is what tells one executor's from another's."""


class Answer(msgspec.Struct, array_like=True):
    """What the calls returned, or what one of them raised."""

    values: list[bytes] = []
    """Empty where they are in `together`."""
    together: bytes = b""
    raised: Raised | None = None
    broken: bool = False
    """It was the initializer that raised it."""


_calls = msgspec.msgpack.Decoder(Calls)
_answer = msgspec.msgpack.Decoder(Answer)
_encode = msgspec.msgpack.Encoder().encode


# --- the caller


class Plain:
    """The way of an executor without `pickle=True`."""

    def __init__(self, setup: Setup | None = None) -> None:
        """Raises as `packed` does."""
        self._setup = b""
        if setup is not None:
            made = _made(setup.initializer, [(setup.initargs, {})])
            made.setup = os.urandom(8)
            self._setup = _encode(made)

    def packed(self, fn: Callable[..., Any], calls: Sequence[Call]) -> Packed:
        """Raises ConfigError for a function that other processes do not find by its name, BadArguments for what is no
        plain data."""
        made = _made(fn, calls)
        identity = made.module.encode(), made.qualname.encode(), *made.payloads, made.rows
        made.setup = self._setup
        return Packed(_encode(made), identity, task_of(_plain(fn)).kind)

    def opened(self, answer: bytes, packed: Packed) -> list[Any]:
        read = _answer.decode(answer)
        if read.raised is not None:
            raise broken(read.raised) if read.broken else again(read.raised)
        if read.together:
            values: list[Any] = _list(packed.kind).decode(read.together)
            return values
        decode = codec.decoder(packed.kind).decode
        return [decode(value) for value in read.values]


def _made(fn: Callable[..., Any], calls: Sequence[Call]) -> Calls:
    target = _plain(fn)
    module, qualname = getattr(target, "__module__", None), getattr(target, "__qualname__", "")
    if not module or not found_by_name(target, module, qualname):
        raise ConfigError(
            f"{fn!r} cannot be sent to another process by its name: define it at the top of a module, or say "
            "pickle=True, which sends anything (see docs/pools.md)"
        )
    task = task_of(target)
    if rows := _together(task, calls):
        return Calls(module, qualname, [], main(), rows, len(calls[0][0]))
    encode = task.arguments.encode
    return Calls(module, qualname, [encode(args, kwargs) for args, kwargs in calls], main())


def _together(task: Task[..., Any], calls: Sequence[Call]) -> bytes:
    """The arguments as rows; empty where that cannot be, or one is refused, which `encode` then says."""
    width = len(calls[0][0])
    decoder = _rows(task, width)
    if len(calls) < 2 or decoder is None:
        return b""
    made = [args for args, kwargs in calls if not kwargs and len(args) == width]
    if len(made) < len(calls):
        return b""
    try:
        rows = codec.encode(made)
        decoder.decode(rows)
    except (*codec.ENCODE_ERRORS, *codec.DECODE_ERRORS):
        return b""
    return rows


def _plain(fn: Any) -> Any:
    return fn.fn if isinstance(fn, Task) else fn


def found_by_name(fn: Any, module: str, qualname: str) -> bool:
    """Whether another process that imports the module finds this there."""
    home = sys.modules.get(module)
    if home is None or (module == "__main__" and not getattr(home, "__file__", None) and not home.__spec__):
        return False  # the main module of a session or of `python -c` cannot be imported
    found: Any = home
    for part in qualname.split("."):
        found = getattr(found, part, None)
    return bool(found is fn or (isinstance(found, Task) and found.fn is fn))


@functools.lru_cache(256)
def _typed(fn: Callable[..., Any]) -> Task[..., Any]:
    return Task(
        fn, f"{fn.__module__}.{fn.__qualname__}", Settings("process", RetryPolicy(0, 0.0), (), None), Template(), None
    )


@functools.lru_cache(256)
def _rows(task: Task[..., Any], width: int) -> msgspec.msgpack.Decoder[list[tuple[Any, ...]]] | None:
    return task.arguments.rows(width)


@functools.lru_cache(256)
def _list(kind: Any) -> msgspec.msgpack.Decoder[list[Any]]:
    return codec.decoder(GenericAlias(list, (kind,)))


def task_of(fn: Callable[..., Any]) -> Task[..., Any]:
    """How its arguments and results travel: those of a builtin and of a class as plain data."""
    return _typed(fn if inspect.isfunction(fn) else _anything)


def _anything(*args: Any, **kwargs: Any) -> Any:
    raise NotImplementedError


# --- the child process


def run(calls: bytes) -> bytes:
    """Run the calls; what they return, or what the first of them that fails raises."""
    read = _calls.decode(calls)
    try:
        prepare(read.setup, lambda: _values(_calls.decode(read.setup)))
        return _encode(_answered(*_values(read)))
    except Stopped:
        raise
    except SetupFailed as failed:
        return _encode(Answer(raised=told(failed.__cause__ or failed), broken=True))
    except BaseException as error:  # as in the standard library's: SystemExit is raised by the future, and ends no process
        return _encode(Answer(raised=told(error)))


def _values(read: Calls) -> tuple[Task[..., Any], list[Any]]:
    import_main(read.main)
    found: Any = functools.reduce(getattr, read.qualname.split("."), importlib.import_module(read.module))
    fn = _plain(found)
    task = task_of(fn)
    made: Iterable[Call] = map(task.arguments.decode, read.payloads)
    if read.rows:
        decoder = _rows(task, read.width)
        assert decoder is not None  # it was made of the same function
        made = ((args, {}) for args in decoder.decode(read.rows))
    return task, values_of(fn, made)


def _answered(task: Task[..., Any], values: list[Any]) -> Answer:
    if task.result.sure and len(values) > 1:
        with suppress(*codec.ENCODE_ERRORS, *codec.DECODE_ERRORS):
            together = codec.encode(values)
            _list(task.kind).decode(together)
            return Answer(together=together)
    return Answer([_encoded(task, value) for value in values])


def _encoded(task: Task[..., Any], value: Any) -> bytes:
    try:
        return task.result.encode(value)
    except codec.ENCODE_ERRORS as error:
        raise TypeError(f"{task.name} returned what does not travel as plain data: {error}") from None
