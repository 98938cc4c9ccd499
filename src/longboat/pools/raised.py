"""Exceptions of functions that ran elsewhere: told as plain data, and made again here where that can be done safely.

Only a class that is found here already is made: a builtin, or one of a module that this program has imported. Nothing is
imported for it, and what is made must read as what was raised.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import msgspec

from longboat.core import codec
from longboat.errors import JobFailed
from longboat.executors.invoke import TEXT_LIMIT, failure


class Raised(msgspec.Struct, array_like=True):
    """An exception as plain data."""

    type: str
    message: str
    traceback: str
    args: bytes = b""
    """What its class was called with; empty where that is no plain data, or too much."""


def told(error: BaseException) -> Raised:
    """Never raises."""
    said = failure(error)
    args = b""
    with suppress(Exception):  # of an exception's own methods, or no plain data
        made = error.__reduce__()
        if isinstance(made, tuple) and isinstance(made[1], tuple):
            args = codec.encode(codec.plain(made[1]))
    if len(args) > TEXT_LIMIT:
        args = b""
    return Raised(said.type, said.message, said.traceback, args)


def again(raised: Raised | JobFailed) -> BaseException:
    """What was raised, with the JobFailed that tells of it as its cause; that itself where it cannot be made."""
    error = raised
    if isinstance(error, Raised):
        error = JobFailed("", "a call", error.type, error.message, error.traceback, 1)
    kind = _class(raised.type)
    if kind is None or kind is JobFailed:
        return error
    for args in _guesses(raised):
        with suppress(Exception):  # it takes other arguments
            made = kind(*args)
            if str(made) == raised.message:
                made.__cause__ = error
                return made
    return error


def _guesses(raised: Raised | JobFailed) -> Iterator[Sequence[Any]]:
    if isinstance(raised, Raised) and raised.args:
        with suppress(*codec.DECODE_ERRORS):
            yield codec.decode(raised.args, list[Any])
    if not raised.message:
        yield ()
    yield (raised.message,)
    with suppress(ValueError, SyntaxError, MemoryError, RecursionError):
        yield (ast.literal_eval(raised.message),)  # a KeyError's message is the repr of its key


def _class(name: str) -> type[BaseException] | None:
    """The exception class of this name, if it is here already."""
    parts = ("builtins." + name if "." not in name else name).split(".")
    for end in range(len(parts) - 1, 0, -1):
        found: Any = sys.modules.get(".".join(parts[:end]))
        if found is None:
            continue
        for part in parts[end:]:
            found = vars(found).get(part) if hasattr(found, "__dict__") else None
        return found if isinstance(found, type) and issubclass(found, BaseException) else None
    return None
