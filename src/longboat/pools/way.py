"""Way: how the calls of one executor travel to the processes that run them, and what they return travels back."""

from __future__ import annotations

import concurrent.futures
import functools
import importlib
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from multiprocessing import spawn
from types import CoroutineType
from typing import Any, NamedTuple, Protocol

from longboat.pools.raised import Raised, again

Call = tuple[Sequence[Any], Mapping[str, Any]]
NOTHING: Mapping[str, Any] = {}
"""By name, for calls that pass nothing in this way."""


class Setup(NamedTuple):
    """What each process runs once, before the first call of this executor."""

    initializer: Callable[..., object]
    initargs: Sequence[Any] = ()


class Packed(NamedTuple):
    """Calls of one function, ready to be sent."""

    data: bytes
    identity: Sequence[bytes | memoryview]
    """What is the same for the same calls, whoever makes them and when."""
    kind: Any
    """What each result is converted to."""
    drop: Callable[[], object] | None = None
    """Called once they have ended."""


class Way(Protocol):
    def packed(self, fn: Callable[..., Any], calls: Sequence[Call]) -> Packed:
        """Raises ConfigError or BadArguments for what does not travel in this way."""
        ...

    def opened(self, answer: bytes, packed: Packed) -> list[Any]:
        """The values of the calls. Raises what one of them raised; BrokenExecutor if the initializer did."""
        ...


def main() -> str:
    """This program's file, if it was started by that."""
    main = sys.modules["__main__"]
    return "" if main.__spec__ else getattr(main, "__file__", "") or ""


# --- in the process that runs the calls


class SetupFailed(Exception):
    """The initializer has raised this one's cause."""


_prepared: set[bytes] = set()


def prepare(setup: bytes, run: Callable[[], object]) -> None:
    """Run an initializer, unless this process has done so. Raises SetupFailed."""
    if setup and setup not in _prepared:
        try:
            run()
        except Exception as error:
            raise SetupFailed from error
        _prepared.add(setup)


@functools.lru_cache(8)
def import_main(path: str) -> None:
    """The program's file as the main module, unless it is that already."""
    if path:
        spawn.import_main_path(os.path.normpath(path))


def values_of(fn: Callable[..., Any], calls: Iterable[Call]) -> list[Any]:
    """What the calls return, one after the other. Raises what the first that fails raises."""
    values = []
    for args, kwargs in calls:
        value = fn(*args, **kwargs)
        if type(value) is CoroutineType:
            value = importlib.import_module("asyncio").run(value)
        values.append(value)
    return values


def broken(raised: Raised) -> concurrent.futures.BrokenExecutor:
    """What futures raise when the initializer has."""
    error = again(raised)
    made = concurrent.futures.BrokenExecutor(f"the initializer raised {raised.type}: {raised.message}")
    made.__cause__ = error
    return made
